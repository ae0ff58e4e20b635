// What the tests in a browser share.
//
// KUDARI_CHROMIUM is the browser, /usr/bin/chromium unless it is set; KUDARI_PROGRAM the program, that of
// build/release unless it is set; KUDARI_SCREENSHOTS a folder for pictures of the pages, none unless it is set.

import assert from "node:assert";
import { mkdtempSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { chromium } from "playwright-core";

export const root = fileURLToPath(new URL("../..", import.meta.url));
export const program = process.env.KUDARI_PROGRAM ?? join(root, "build/release/kudari");
export const folder = mkdtempSync(join(tmpdir(), "kudari-"));
const axe = createRequire(import.meta.url).resolve("axe-core");
const browser = await chromium.launch({ executablePath: process.env.KUDARI_CHROMIUM ?? "/usr/bin/chromium", args: ["--no-sandbox"] });

// A file for a picture of what is on the page; undefined if none are wanted.
export const pictureFile = name => process.env.KUDARI_SCREENSHOTS && join(process.env.KUDARI_SCREENSHOTS, `${name}.png`);

// Opens a page of that width, gives it to `use`, and checks what holds for every page.
export async function onPage(file, width, use, settings = {}) {
  const context = await browser.newContext({ viewport: { width, height: 900 }, hasTouch: width < 600, reducedMotion: "reduce", ...settings });
  const page = await context.newPage(), problems = [];
  page.on("console", message => { if (["error", "warning"].includes(message.type())) problems.push(message.text()); });
  page.on("pageerror", error => problems.push(error.message));
  page.on("request", request => { if (!/^(data|blob):/.test(request.url()) && request.url() !== pathToFileURL(file).href) problems.push(`asks for ${request.url()}`); });
  await page.goto(pathToFileURL(file).href);
  await page.waitForFunction(() => document.getElementById("runs").rows.length >= 3);
  await use(page);
  assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), `${file} is wider than ${width}`);
  assert.deepStrictEqual(problems, []);
  await page.addScriptTag({ path: axe });
  const found = await page.evaluate(async () => (await axe.run()).violations.map(({ id, impact, nodes }) => `${impact}: ${id} at ${nodes.map(node => node.target).join(", ")}`));
  assert.deepStrictEqual(found.filter(text => /^(serious|critical)/.test(text)), []);
  await page.evaluate(() => scrollTo(0, 0));
  const picture = pictureFile(`${basename(file, ".html")}-${width}${settings.colorScheme === "dark" ? "-dark" : ""}`);
  if (picture) await page.screenshot({ path: picture, fullPage: true });
  await context.close();
}

// Runs the tests, and cleans up.
export async function test(use) {
  try {
    await use();
  } finally {
    await browser.close();
    rmSync(folder, { recursive: true });
  }
}
