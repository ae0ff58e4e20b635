// Compares the module with the program, bit for bit.
//
// usage: node playground/module_test.mjs MODULE.wasm KUDARI

import assert from "node:assert";
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { loadModule } from "./module.mjs";

const [, , moduleFile, program] = process.argv;
const ask = await loadModule(readFileSync(moduleFile));
const { rules, surfaces } = ask({ ask: "list" });

// Every rule on each: plain, with noise, with a schedule, with SAM, and with functions that come from
// the C library: the module's losses may differ in their last bits there.
const cases = [
  { surface: "rosenbrock", noise: 0, seed: 1, schedule: "1", rho: "0" },
  { surface: "himmelblau", noise: 0.5, seed: 7, schedule: "warmup(10%) * cosine(end, 0.05)", rho: "0" },
  { surface: "ravine", noise: 0.2, seed: 3, schedule: "wsd(end, 10.5%, 89.5%, 0, sqrt)", rho: "0.3 * linear(50%)" },
  { surface: "noisy", noise: 0.5, seed: 5, schedule: "exponential(0.99)", rho: "0.1" },
  { surface: "valleys", noise: 0, seed: 1, schedule: "onecycle(100)", rho: "0.5" },
];
const kLibrarysFunctions = ["sharp", "noisy", "valleys"];
const kSteps = 100, kMostRunners = 12, kLossError = 4 * Number.EPSILON;

// What the program has of these runs.
function programRuns({ surface, noise, seed, rho }, runs) {
  const found = [];
  for (let first = 0; first < runs.length; first += kMostRunners) {
    const tables = runs.slice(first, first + kMostRunners).flatMap(({ rule, lr }) =>
      ["--optimizer", `${rule}={rule = "${rule}", lr = "${lr}"${rho === "0" ? "" : `, source = "sam", sharpness = {rho = "${rho}"}`}}`]);
    const text = execFileSync(program, ["landscape", surface, ...tables, "--steps", kSteps, "--noise", noise, "--seed", seed, "--json", "-"], { stdio: ["ignore", "pipe", "ignore"] });
    found.push(...JSON.parse(text).runs);
  }
  return found;
}

const question = { ask: "run", steps: kSteps, options: {}, rho: "0", noise: 0, seed: 1 };
const startOf = name => surfaces.find(surface => surface.function === name).start;
let positions = 0, losses = 0, equal = 0;
for (const { schedule, ...one } of cases) {
  const runs = rules.map(({ name }) => {
    const { lr } = ask({ ...question, ...one, start: startOf(one.surface), ask: "rate", rule: name });
    return { rule: name, lr: `${lr} * ${schedule}` };
  });
  const theirs = programRuns(one, runs);
  assert.equal(theirs.length, rules.length);
  runs.forEach(({ rule, lr }, k) => {
    const ours = ask({ ...question, ...one, start: startOf(one.surface), rule, options: { lr } });
    const where = `${one.surface} ${rule}`;
    assert.ok(ours.x.length > 1 && ours.x.at(-1) !== ours.x[0], where);
    for (const axis of ["x", "y"]) assert.deepStrictEqual(ours[axis], theirs[k][axis], `${where}: ${axis}`);
    if (!kLibrarysFunctions.includes(one.surface)) assert.deepStrictEqual(ours.loss, theirs[k].loss, where);
    ours.loss.forEach((loss, step) => {
      const other = theirs[k].loss[step];
      assert.ok(loss === other || Math.abs(loss - other) <= kLossError * Math.max(1, Math.abs(other)), `${where}, step ${step}: ${loss}, ${other}`);
      equal += loss === other;
    });
    positions += ours.x.length;
    losses += ours.loss.length;
  });
}

// A refused question gives the library's message and leaves a module that works.
const bowl = { ...question, surface: "bowl", start: [1, 1], rule: "sgd", options: { lr: "0.1" } };
const before = ask(bowl);
for (const [wrong, message] of [
  [{ options: { lr: "0.1 * cosin(end)" } }, /did you mean "cosine"/],
  [{ options: { lr: "-1" } }, /lr = -1 is outside \[0, inf\)/],
  [{ start: [100, 0] }, /is outside of bowl/],
  [{ steps: 0 }, /steps = 0 is outside/],
  [{ surface: "bow" }, /did you mean "bowl"/],
]) {
  assert.throws(() => ask({ ...bowl, ...wrong }), message);
  assert.deepStrictEqual(ask(bowl), before);
}
console.log(`${rules.length} rules, ${cases.length} runs of ${kSteps} steps each: ${positions} positions with the program's bits, ${equal} of ${losses} losses`);
