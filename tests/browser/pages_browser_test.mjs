// Uses the playground and the pages of `kudari landscape --html` in Chromium as people do.
//
// usage: npm ci && npm test      in tests/browser, after make program playground

import assert from "node:assert";
import { execFileSync } from "node:child_process";
import { join } from "node:path";
import { folder, onPage, pictureFile, program, root, test } from "./harness.mjs";

const [landscape, begun] = ["landscape", "begun"].map(name => join(folder, `${name}.html`)), playground = join(root, "build/playground.html");
execFileSync(program, ["landscape", "ravine", "--optimizers", "sgd,momentum,adam", "--html", landscape, "--playground", "none"]);
// A command for all that settings can have: a name with markup, a schedule, a source, an averager, a stage without a field.
const tables = ["<b>slow</b>={rule = \"sgd\", lr = \"0.01 * cosine(end)\", clip_norm = 1}", "SAM={rule = \"momentum\", source = \"sam\", sharpness = {rho = 0.2}}", "ranger"];
const command = ["landscape", "ravine", ...tables.flatMap(table => ["--optimizer", table]), "--start=-9,0.5", "--steps", "150", "--noise", "0.2", "--seed", "4"];
execFileSync(program, [...command, "--html", begun]);  // finds the playground that was built

const row = (page, k) => page.locator("#runs tr").nth(k).innerText();
const message = page => page.locator("#message").innerText();

async function playWithIt(page) {
  // Drags the start, with a finger on the narrow screen.
  let before = await row(page, 0);
  const ring = await page.locator("#start").boundingBox();
  if (page.viewportSize().width < 600) {
    const fingers = await page.context().newCDPSession(page);
    const touch = (type, ...touchPoints) => fingers.send("Input.dispatchTouchEvent", { type, touchPoints });
    await touch("touchStart", { x: ring.x + 22, y: ring.y + 22 });
    for (const part of [.25, .5, .75, 1]) await touch("touchMove", { x: ring.x + 22 + 40 * part, y: ring.y + 22 + 30 * part });
    await touch("touchEnd");
  } else {
    await page.mouse.move(ring.x + 22, ring.y + 22);
    await page.mouse.down();
    await page.mouse.move(ring.x + 62, ring.y + 52, { steps: 4 });
    await page.mouse.up();
  }
  assert.notEqual(await row(page, 0), before);
  const dragged = await page.locator("#start").boundingBox();
  assert.ok(Math.abs(dragged.x - ring.x - 40) < 2 && Math.abs(dragged.y - ring.y - 30) < 2, "the ring is where it was dragged to");

  // Moves it by keys, which says so, and clicks on the map.
  before = await page.locator("#start").getAttribute("aria-label");
  await page.locator("#start").focus();
  await page.keyboard.press("ArrowRight");
  await page.keyboard.press("Shift+ArrowUp");
  assert.notEqual(await page.locator("#start").getAttribute("aria-label"), before);
  before = await page.locator("#x").inputValue();
  await page.locator("#map").click({ position: { x: 150, y: 100 } });
  assert.notEqual(await page.locator("#x").inputValue(), before);

  // Changes a rate by its text and by its slider.
  const card = page.locator(".card").first();
  before = await row(page, 0);
  await card.getByLabel("lr", { exact: true }).fill("0.003");
  assert.notEqual(await row(page, 0), before);
  before = await row(page, 0);
  await card.getByLabel("lr, a slider").press("ArrowRight");
  assert.notEqual(await row(page, 0), before);

  // Another rule, its options, its formula, one more optimiser, and one fewer.
  await card.locator(".rule").selectOption("lion");
  assert.match(await row(page, 0), /^lion\b.*exp_avg \(/s);
  await card.getByText("The other options of lion").click();
  before = await row(page, 0);
  await card.getByLabel("beta1", { exact: true }).fill("0.5");
  assert.notEqual(await row(page, 0), before);
  await card.getByText("Formula and paper of lion").click();
  assert.ok(await card.locator("pre").isVisible());

  // Every source, with its fields; a slider of whole numbers; an averager, whose weights are shown.
  await card.locator(".source").focus();
  for (const source of await card.locator(".source option").allInnerTexts()) {
    before = await row(page, 0);
    await card.locator(".source").selectOption(source);
    assert.equal(await page.evaluate(() => document.activeElement.className), "source");
    if (source === "nesterov_lookahead") assert.match(await message(page), /momentum/);
    else assert.equal(await message(page), "", source);
    if (source !== "plain") assert.notEqual(await row(page, 0), before, source);
  }
  await card.locator(".source").selectOption("looksam");
  before = await row(page, 0);
  await card.getByLabel("sharpness.rho", { exact: true }).fill("0.5");
  await card.getByLabel("sharpness.k, a slider").press("ArrowLeft");
  await card.getByLabel("sharpness.reuse", { exact: true }).selectOption("random");
  assert.notEqual(await row(page, 0), before);
  assert.match(await page.locator("#command").textContent(), /source = "looksam", sharpness = \{rho = 0.5, k = \d+, reuse = "random"\}/);
  await card.getByText("Averages of the weights").click();
  await card.getByLabel("ema", { exact: true }).check();
  await card.getByLabel("ema.decay", { exact: true }).fill("0.9");
  assert.match(await row(page, 0), /to evaluate \(/);
  assert.match(await page.locator("#notes").innerText(), /Thin lines/);
  await card.getByLabel("ema", { exact: true }).uncheck();
  assert.doesNotMatch(await row(page, 0), /to evaluate/);
  await page.locator("#add").click();
  assert.equal(await page.locator("#runs tr").count(), 4);
  await page.getByLabel("Remove adamw").click();
  assert.equal(await page.locator("#runs tr").count(), 3);

  // Steps through the run by keys, and plays it.
  await page.evaluate(() => document.activeElement.blur());
  assert.equal(await page.locator("#shown").innerText(), "200 of 200");
  await page.keyboard.press("ArrowLeft");
  assert.equal(await page.locator("#shown").innerText(), "199 of 200");
  await page.locator("#step").fill("0");
  await page.evaluate(() => document.activeElement.blur());
  await page.keyboard.press(" ");
  assert.equal(await page.locator("#play").innerText(), "Pause");
  await page.keyboard.press(" ");
  assert.equal(await page.locator("#play").innerText(), "Play");

  // What it refuses, it says, and goes on.
  const field = card.getByLabel("schedule", { exact: true });
  for (const [box, wrong, right, expected] of [
    [field, "cosin(end)", "cosine(end)", /did you mean "cosine"/],
    [card.getByLabel("beta1", { exact: true }), "2", "0.9", /beta1: 2 is outside \[0, 1\)/],
    [card.getByLabel("sharpness.rho", { exact: true }), "-1", "0.1", /sharpness\.rho: -1 is outside/],
    [card.getByLabel("sharpness.k", { exact: true }), "1.5", "2", /sharpness\.k: must be an integer/],
    [card.getByLabel("lr", { exact: true }), "", "0.01", /\w/],
    [page.locator("#x"), "50", "-3", /outside of ravine/],
    [page.locator("#steps"), "0", "100", /steps = 0 is outside/],
    [page.locator("#steps"), "", "100", /steps must be a whole number/],
    [page.locator("#noise"), "-1", "0.1", /noise = -1 is outside/],
  ]) {
    await box.fill(wrong);
    assert.match(await message(page), expected);
    if (await box.evaluate(input => input.closest(".card") !== null)) assert.equal(await card.locator("[aria-invalid=true]").count(), 1, wrong);
    await box.fill(right);
    assert.equal(await message(page), "");
    assert.equal(await page.locator("[aria-invalid=true]").count(), 0);
  }
  const last = page.locator(".card").nth(1);
  await last.getByLabel("lr", { exact: true }).fill("1e6");
  assert.match(await page.locator("#notes").innerText(), /momentum diverged at step/);
  await last.getByText("Choose a learning rate").click();
  assert.equal(await page.locator("#notes").innerText(), "");

  // Every surface.
  for (const surface of await page.locator("#surface option").allInnerTexts()) {
    await page.locator("#surface").selectOption(surface);
    assert.equal(await message(page), "", surface);
    assert.match(await page.locator("#command").textContent(), new RegExp(`^kudari landscape ${surface} `));
  }
  await page.locator("#surface").selectOption("himmelblau");

  await endsWhereItsCommandDoes(page, 3);

  // Every preset, by keys: each says what to look at, and ends where its command does.
  const presets = await page.locator("#preset option").allInnerTexts();
  assert.ok(presets.length >= 6);
  await page.locator("#again").click();
  assert.equal(await page.locator("#surface").inputValue(), "ravine");
  for (const preset of presets) {
    assert.equal(await page.locator("#preset").inputValue(), preset);
    assert.equal(await message(page), "", preset);
    assert.ok((await page.locator("#look").innerText()).length > 40, preset);
    await endsWhereItsCommandDoes(page, await page.locator(".card").count());
    const picture = pictureFile(`preset-${presets.indexOf(preset)}-${page.viewportSize().width}`);
    if (picture) await page.screenshot({ path: picture });
    await page.locator("#preset").focus();
    await page.keyboard.press("ArrowDown");
  }
}

// The command that the page shows ends where the page does.
async function endsWhereItsCommandDoes(page, count) {
  const shown = (await page.locator("#command").textContent()).replace("kudari", program);
  const { runs } = JSON.parse(execFileSync("bash", ["-c", `${shown} --json - 2>/dev/null`]));
  assert.equal(runs.length, count);
  for (const [k, run] of runs.entries()) {
    const [, x, y] = (await row(page, k)).split("\t").map(text => Number(text.replace("\u2212", "-")));
    assert.deepStrictEqual([x, y], [run.x.at(-1), run.y.at(-1)].map(value => Number(value.toPrecision(4))));
  }
}

// The page that a command has written begins with what the command computed, and computes more.
async function goOnWithIt(page) {
  const { runs } = JSON.parse(execFileSync(program, [...command, "--json", "-"], { stdio: ["ignore", "pipe", "ignore"] }));
  const same = async k => {
    const [label, x] = (await row(page, k)).split("\t");
    return label === runs[k].label && Number(x.replace("\u2212", "-")) === Number(runs[k].x.at(-1).toPrecision(4));
  };
  assert.equal(await page.locator("#runs tr").count(), 3);
  for (const k of [0, 1, 2]) assert.ok(await same(k), `${await row(page, k)}: ${runs[k].label}`);
  assert.equal(await message(page), "");
  const card = page.locator(".card").first();
  assert.match(await card.innerText(), /Also: \{clip_norm = 1\}/);
  await endsWhereItsCommandDoes(page, 3);
  await card.getByLabel("lr", { exact: true }).fill("0.02");
  assert.ok(!await same(0) && await same(1));
  await page.locator("#again").click();
  assert.ok(await same(0));
}

await test(async () => {
  for (const width of [1200, 375]) {
    await onPage(playground, width, playWithIt);
    await onPage(begun, width, goOnWithIt);
    await onPage(landscape, width, async page => {
      const before = await row(page, 0);
      await page.evaluate(() => document.activeElement.blur());
      await page.keyboard.press("ArrowLeft");
      await page.locator("#step").fill("10");
      assert.notEqual(await row(page, 0), before);
      assert.match(await page.locator("#shown").innerText(), /^10 of 200/);
    });
  }
  console.log("The playground and the landscape pages work at 1200 and 375 pixels.");
});
