// Uses the pages of `kudari report` in Chromium as people do.
//
// usage: npm ci && npm test      in tests/browser, after make program playground

import assert from "node:assert";
import { execFileSync } from "node:child_process";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { folder, onPage, pictureFile, program, test } from "./harness.mjs";

// A run with a spike, a loss that is not finite, and norms by layer; with `rise` the loss ends high.
function makeRun(name, steps, rise) {
  const lines = [], at = join(folder, name);
  for (let step = 1; step <= steps; step++) {
    const loss = step === 123 ? 40 : step === 200 ? null : 2 / Math.sqrt(step) + .1 + .05 * Math.sin(step * step) + (rise && step > steps / 2 ? (step - steps / 2) / 50 : 0);
    const layers = step % 20 === 0 ? { layers: Object.fromEntries(["first.weight", "second.weight", "a.very.long.name.of.a.layer.that.does.not.fit.weight"].map((layer, k) => [layer, { grad: (k + 1) / step, weight: 3, update: .01 * (3 - k) / step }])) } : {};
    lines.push(JSON.stringify({ step, epoch: Math.ceil(step / 50), loss, lr: .1 * (1 - step / steps), grad_norm: 1 + Math.sin(step), skipped: false, seconds: step / 7, gradients: 2, ...layers }));
    if (step % 50 === 0) lines.push(JSON.stringify({ step, val_loss: loss ?? 1, val_accuracy: 1 - 1 / step }));
  }
  mkdirSync(at);
  writeFileSync(join(at, "metrics.jsonl"), lines.join("\n") + "\n");
  writeFileSync(join(at, "recipe.toml"), `model = {name = "mlp"}\noptimizer = {rule = "adamw", lr = ${rise ? .1 : .2}}\n`);
  writeFileSync(join(at, "slice.svg"), "<svg xmlns='http://www.w3.org/2000/svg' width='80' height='40'><rect width='80' height='40' fill='#0072B2'/></svg>");
  return at;
}

const runs = [makeRun("calm", 400, false), makeRun("<b>rising</b>\"&".replace("/", "-"), 600, true)];
const page_of_two = join(folder, "report.html"), page_of_long = join(folder, "long.html");
execFileSync(program, ["report", ...runs, "--out", page_of_two]);
execFileSync(program, ["report", makeRun("long", 30000, false), makeRun("short", 20, false), "--out", page_of_long]);

// Whether something is drawn on the canvas of a chart, by the number of its colours.
const coloursOf = (page, k) => page.locator("#curves canvas").nth(k).evaluate(canvas => new Set(new Uint32Array(canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data.buffer)).size);
const pixelsOf = (page, k) => page.locator("#curves canvas").nth(k).evaluate(canvas => canvas.toDataURL());
// Charts draw in a microtask after each change.
const settled = page => page.evaluate(() => new Promise(done => { requestAnimationFrame(() => requestAnimationFrame(done)); }));

async function changes(page, what, act, k = 0) {
  const before = await pixelsOf(page, k);
  await act();
  await settled(page);
  assert.ok(await pixelsOf(page, k) !== before, what);
}

async function useIt(page) {
  assert.equal(await page.locator("h1").innerText(), "Report of 2 runs");
  const titles = await page.locator("#curves h3").allInnerTexts();
  assert.deepStrictEqual(titles, ["Training loss", "Validation loss", "Validation accuracy", "Learning rate", "Gradient norm", "Update norm"]);
  for (let k = 0; k < titles.length; k++) assert.ok(await coloursOf(page, k) > 20, `${titles[k]} is drawn`);
  assert.match(await page.locator("#runs").innerText(), /<b>rising<-b>"&\s+broken off\s+600/);
  assert.match(await page.locator("#verdicts").innerText(), /1\. \w+.*What to do:/s);
  assert.match(await page.locator("#differences").innerText(), /optimizer\.lr\s+0\.2\s+0\.1/);
  assert.match(await page.locator("#constants").innerText(), /gradients = 2/);
  assert.equal(await page.locator("#picture-list img").count(), 2);
  assert.ok(await page.locator("#picture-list img").first().evaluate(image => image.complete && image.naturalWidth === 80));

  // Every switch changes what is drawn.
  const first = page.locator("#curves figure").first();
  await changes(page, "smoothing", () => page.locator("#smoothing").fill("0.9"));
  assert.equal(await page.locator("#smoothed").innerText(), "0.9");
  assert.match(await first.locator(".values").innerText(), /smoothed/);
  await page.locator("#smoothing").fill("0");
  await changes(page, "a logarithmic axis of values", () => first.getByLabel("Training loss on a logarithmic axis").check());
  await changes(page, "a logarithmic axis of steps", () => page.locator("#log-x").check());
  await page.locator("#log-x").uncheck();
  await changes(page, "verdicts", () => page.locator("#marks").uncheck());
  await page.locator("#marks").check();
  for (const [axis, expected] of [["epoch", /^epoch/], ["seconds", /^seconds/], ["gradients", /^gradients/], ["step", /^step/]]) {
    await changes(page, axis, () => page.locator("#axis").selectOption(axis));
    await first.locator(".chart").focus();
    await page.keyboard.press("Home");
    await settled(page);
    assert.match(await first.locator(".values").innerText(), expected);
    await page.keyboard.press("Escape");
  }
  await changes(page, "a run that is hidden", () => page.locator("#runs input").first().uncheck());
  await page.locator("#runs input").first().check();

  // Values by mouse and by keys.
  await first.scrollIntoViewIfNeeded();
  const box = await first.locator(".u-over").boundingBox();
  await page.mouse.move(box.x + box.width / 2, box.y + 40);
  await settled(page);
  assert.match(await first.locator(".values").innerText(), /step (29|30|31)\d/);
  assert.match(await page.locator("#curves figure").nth(3).locator(".values").innerText(), /step (29|30|31)\d/, "cursors go together");
  await first.locator(".chart").focus();
  await page.keyboard.press("Home");
  await page.keyboard.press("ArrowRight");
  await settled(page);
  assert.match(await first.locator(".values").innerText(), /step 2\s.*calm 1\.\d+/s);
  assert.equal(await first.locator(".values").getAttribute("aria-live"), "polite");

  // Zoom by buttons, by keys, by dragging, and to a verdict; all charts go together.
  assert.ok(await page.locator("#all").isDisabled());
  await changes(page, "zoom by a button", () => page.locator("#in").click(), 3);
  await changes(page, "a part further on", () => page.locator("#right").click(), 3);
  await page.locator("#all").click();
  await first.locator(".chart").focus();
  await changes(page, "zoom by a key", () => page.keyboard.press("+"), 3);
  await page.keyboard.press("Escape");
  assert.ok(await page.locator("#all").isDisabled());
  await first.scrollIntoViewIfNeeded();
  const area = await first.locator(".u-over").boundingBox();
  await changes(page, "zoom by dragging", async () => {
    await page.mouse.move(area.x + 40, area.y + 50);
    await page.mouse.down();
    await page.mouse.move(area.x + 120, area.y + 60, { steps: 4 });
    await page.mouse.up();
  }, 3);
  assert.ok(await page.locator("#all").isEnabled());
  await page.locator("#all").click();
  await page.getByRole("button", { name: "Show on the curves" }).first().click();
  assert.ok(await page.locator("#all").isEnabled());
  await page.locator("#all").click();

  // Tables, layers, the recipe.
  await first.locator("summary").click();
  assert.match(await first.locator("table").innerText(), /calm\s+400\s+[\d.]+ at 1\s+[\d.]+ at \d+\s+40 at 123\s+[\d.]+ at 400\s+1/);
  const heat = () => page.locator("#heat").evaluate(canvas => canvas.toDataURL());
  const before = await heat();
  await page.locator("#layers-what").selectOption("ratio");
  assert.ok(await heat() !== before);
  await page.locator("#heat-table summary").click();
  assert.match(await page.locator("#heat-table").innerText(), /first\.weight\s+5e-4/);
  await page.getByText("Recipe of calm").click();
  assert.ok(await page.locator("pre").first().isVisible());

  // The numbers as CSV are those that were logged.
  const [download] = await Promise.all([page.waitForEvent("download"), page.locator("#csv").click()]);
  const csv = readFileSync(await download.path(), "utf8").trim().split("\n");
  assert.equal(csv[0], "run,curve,step,value");
  assert.ok(csv.includes('"calm","loss",123,40'));
  assert.ok(csv.includes('"calm","loss",200,'));
  assert.ok(csv.some(line => line.startsWith('"<b>rising<-b>""&","val_loss",600,')));

  // The other theme, and back.
  const paper = () => page.evaluate(() => getComputedStyle(document.documentElement).backgroundColor);
  const was = await paper();
  await changes(page, "the theme", () => page.locator("#theme").click());
  assert.notEqual(await paper(), was);
  await page.locator("#theme").click();
  assert.equal(await paper(), was);
}

await test(async () => {
  for (const colorScheme of ["light", "dark"]) {
    for (const width of [1200, 375]) {
      await onPage(page_of_two, width, async page => {
        await useIt(page);
        const picture = pictureFile(`report-top-${width}-${colorScheme}`);
        if (picture) await page.screenshot({ path: picture });
      }, { colorScheme });
    }
  }
  await onPage(page_of_long, 1200, async page => {
    assert.match(await page.locator("#curves figcaption").first().innerText(), /^Drawn from [\d,]+ of 30,000 values/);
    assert.ok(await coloursOf(page, 0) > 20);
  });
  console.log("The pages of reports work at 1200 and 375 pixels, light and dark.");
});
