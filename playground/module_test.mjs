// Compares the module with the program, bit for bit.
//
// usage: node playground/module_test.mjs MODULE.wasm KUDARI

import assert from "node:assert";
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { loadModule, tomlOf } from "./module.mjs";

const [, , moduleFile, program] = process.argv;
const ask = await loadModule(readFileSync(moduleFile));
const { rules, surfaces, sources, averagers } = ask({ ask: "list" });
const presets = JSON.parse(readFileSync(new URL("presets.json", import.meta.url)));

const sam = rho => ({ source: "sam", sharpness: { rho } });
const startOf = name => surfaces.find(surface => surface.function === name).start;

// Every rule on each: plain, with noise, with a schedule, with SAM, and with functions that come from
// the C library: the module's losses may differ in their last bits there.
const kinds = [
  { surface: "rosenbrock", noise: 0, seed: 1, schedule: "1", others: {} },
  { surface: "himmelblau", noise: 0.5, seed: 7, schedule: "warmup(10%) * cosine(end, 0.05)", others: {} },
  { surface: "ravine", noise: 0.2, seed: 3, schedule: "wsd(end, 10.5%, 89.5%, 0, sqrt)", others: sam("0.3 * linear(50%)") },
  { surface: "noisy", noise: 0.5, seed: 5, schedule: "exponential(0.99)", others: sam(0.1) },
  { surface: "valleys", noise: 0, seed: 1, schedule: "onecycle(100)", others: sam(0.5) },
];
const kSteps = 100;
const cases = kinds.map(({ schedule, others, ...one }) => ({
  ...one, start: startOf(one.surface), steps: kSteps,
  optimizers: rules.map(({ name }) => {
    const { lr } = ask({ ask: "rate", ...one, start: startOf(one.surface), steps: kSteps, optimizer: { rule: name, ...others } });
    return { rule: name, lr: `${lr} * ${schedule}`, ...others };
  }),
}));
// Every source and averager, with the first option that is not at its default, and what presets have.
const other = ({ default: value, choices }) => choices ? choices.find(choice => choice !== value) : value * 2 || 3;
const partly = (part, rule) => {
  const optimizer = { rule, lr: 0.01 };
  for (const option of part.options) {
    const [table, key] = option.name.split(".");
    if (key) (optimizer[table] ??= {})[key] = option.whole || option.choices ? other(option) : option.default;
  }
  return optimizer;
};
cases.push({
  surface: "ravine", start: startOf("ravine"), steps: kSteps, noise: 0.2, seed: 2,
  optimizers: [...sources.map(source => ({ ...partly(source, "momentum"), source: source.name })), ...averagers.map(averager => partly(averager, "adam")), { rule: "adam", lr: 0.1, accumulate: 3 }],
});
for (const { function: surface, start = startOf(surface), steps = 200, noise = 0, seed = 1, optimizers, name, look } of presets) {
  assert.ok(name && look);
  const question = { surface, start, steps, noise, seed };
  cases.push({ ...question, optimizers: optimizers.map(({ optimizer }) => "lr" in optimizer ? optimizer : { ...optimizer, ...ask({ ask: "rate", ...question, optimizer }) }) });
}

const kLibrarysFunctions = ["sharp", "noisy", "valleys"];
const kMostRunners = 12, kLossError = 4 * Number.EPSILON;

// What the program has of these runs.
function programRuns({ surface, start, steps, noise, seed, optimizers }) {
  const found = [];
  for (let first = 0; first < optimizers.length; first += kMostRunners) {
    const tables = optimizers.slice(first, first + kMostRunners).flatMap(optimizer => ["--optimizer", `run=${tomlOf(optimizer)}`]);
    const text = execFileSync(program, ["landscape", surface, ...tables, `--start=${start}`, "--steps", steps, "--noise", noise, "--seed", seed, "--json", "-"], { stdio: ["ignore", "pipe", "ignore"] });
    found.push(...JSON.parse(text).runs);
  }
  return found;
}

let positions = 0, losses = 0, equal = 0, runs = 0;
for (const one of cases) {
  const theirs = programRuns(one), { optimizers, ...question } = one;
  assert.equal(theirs.length, optimizers.length);
  optimizers.forEach((optimizer, k) => {
    const ours = ask({ ask: "run", ...question, optimizer });
    const where = `${one.surface} ${tomlOf(optimizer)}`;
    assert.ok(ours.x.length > 1 && ours.x.at(-1) !== ours.x[0], where);
    for (const axis of ["x", "y"]) assert.deepStrictEqual(ours[axis], theirs[k][axis], `${where}: ${axis}`);
    for (const axis of ["x", "y"]) assert.deepStrictEqual(ours.evaluated?.[axis], theirs[k].evaluated?.[axis], `${where}: to evaluate, ${axis}`);
    if (!kLibrarysFunctions.includes(one.surface)) assert.deepStrictEqual(ours.loss, theirs[k].loss, where);
    ours.loss.forEach((loss, step) => {
      const other = theirs[k].loss[step];
      assert.ok(loss === other || Math.abs(loss - other) <= kLossError * Math.max(1, Math.abs(other)), `${where}, step ${step}: ${loss}, ${other}`);
      equal += loss === other;
    });
    positions += ours.x.length;
    losses += ours.loss.length;
    ++runs;
  });
}

// A refused question gives the library's message and leaves a module that works.
const sgd = { rule: "sgd", lr: 0.1 };
const bowl = { ask: "run", surface: "bowl", start: [1, 1], steps: kSteps, noise: 0, seed: 1, optimizer: sgd };
const before = ask(bowl);
for (const [wrong, message] of [
  [{ optimizer: { ...sgd, lr: "0.1 * cosin(end)" } }, /did you mean "cosine"/],
  [{ optimizer: { ...sgd, lr: -1 } }, /lr: -1 is outside \[0, inf\)/],
  [{ optimizer: { ...sgd, source: "sma" } }, /did you mean "sam"/],
  [{ optimizer: { preset: "ranger" } }, /a rule, not a preset/],
  [{ optimizer: { ...sgd, source: "nesterov_lookahead" } }, /momentum/],
  [{ start: [100, 0] }, /is outside of bowl/],
  [{ steps: 0 }, /steps = 0 is outside/],
  [{ surface: "bow" }, /did you mean "bowl"/],
]) {
  assert.throws(() => ask({ ...bowl, ...wrong }), message);
  assert.deepStrictEqual(ask(bowl), before);
}
console.log(`${rules.length} rules, ${sources.length} sources, ${averagers.length} averagers, ${presets.length} presets, ${runs} runs: ${positions} positions with the program's bits, ${equal} of ${losses} losses`);
