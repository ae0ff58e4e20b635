// The page of the playground. All that is computed is asked of the module.

const packed = Uint8Array.from(atob(byId("module").textContent), character => character.charCodeAt(0));
const ask = await loadModule(await new Response(new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"))).arrayBuffer());
const { surfaces, rules, styles } = ask({ ask: "list" });
const kMostOptimisers = styles.length;

const settings = { surface: null, start: [], steps: 200, noise: 0, seed: 1 };
const optimisers = [];

function make(tag, attributes = {}, ...children) {
  const element = Object.assign(document.createElement(tag), attributes);
  element.append(...children);
  return element;
}

// An answer, or the message of the error instead.
function tried(question) {
  try {
    return ask(question);
  } catch (error) {
    return { error: error instanceof WebAssembly.RuntimeError ? "the library stopped, perhaps because memory ran out" : error.message.replace(/^--/, "") };
  }
}

// How the position of a slider, in [0, 1], becomes a number of an option and back: by powers of ten
// where there is no upper end, and of what is missing to 1 where the upper end is just below it.
// Nothing for an option without a lower end.
function trackOf({ low, high }) {
  const kLeast = -8, kMost = 2;
  const round = value => Number(value.toPrecision(2));
  if (low === null) return null;
  if (high === null) {
    return {
      value: at => at === 0 ? low : Math.max(low, round(10 ** (kLeast + at * (kMost - kLeast)))),
      position: value => value <= 0 ? 0 : (Math.log10(value) - kLeast) / (kMost - kLeast),
    };
  }
  if (low === 0 && high < 1 && high > .99) {
    return { value: at => Number((1 - round(10 ** (-4 * at))).toFixed(6)), position: value => -Math.log10(Math.max(1 - value, 1e-4)) / 4 };
  }
  return { value: at => Number((low + at * (high - low)).toFixed(3)), position: value => (value - low) / (high - low) };
}

let fields = 0;

// A labelled text with a slider, if it can have one; change is called with the text.
function fieldOf({ name, doc, option, text, change, placeholder = "" }) {
  const track = option && trackOf(option);
  const id = `field${++fields}`;
  const input = make("input", { id, type: "text", value: text, placeholder, autocomplete: "off", spellcheck: false });
  const slider = track && make("input", { type: "range", min: 0, max: 1000, ariaLabel: `${name}, a slider` });
  const place = () => { if (track && Number.isFinite(Number(input.value))) slider.value = 1000 * track.position(Number(input.value)); };
  const label = make("label", { htmlFor: id }, name), note = make("small", { id: `${id}-note` }, doc);
  input.setAttribute("aria-describedby", note.id);
  input.addEventListener("input", () => { place(); change(input.value); });
  if (track) slider.addEventListener("input", () => { input.value = track.value(slider.value / 1000); change(input.value); });
  place();
  return {
    element: make("div", { className: track ? "field" : "field wide" }, label, input, ...(track ? [slider] : []), note),
    set(value) { input.value = value; place(); },
    mark(error) { input.setAttribute("aria-invalid", String(error)); },
  };
}

// An optimiser: what is asked about it, its card, its row of the table, and what came of its run.
class Optimiser {
  shown = true;
  run = null;
  error = "";
  schedule = "";
  rho = "0";
  card = make("section", { className: "card" });
  trouble = make("p", { className: "error" });
  state = make("tr");

  constructor(rule) {
    const taken = optimisers.map(other => other.style);
    this.style = styles.find(style => !taken.includes(style));
    this.setRule(rule);
  }
  get label() {
    const same = optimisers.filter(other => other.rule === this.rule);
    return this.rule.name + (same.length > 1 ? ` ${same.indexOf(this) + 1}` : "");
  }

  setRule(rule) {
    this.rule = rule;
    this.texts = Object.fromEntries(rule.options.map(option => [option.name, String(option.default)]));
    this.chosen = true;
    this.build();
  }
  // What to ask about a run; a schedule multiplies the learning rate.
  question(ask, schedule = this.schedule) {
    const options = { ...this.texts };
    if (schedule.trim()) options.lr = `${options.lr} * ${schedule}`;
    return { ask, ...settings, surface: settings.surface.function, rule: this.rule.name, options, rho: this.rho };
  }
  chooseRate() {
    const answer = tried(this.question("rate", ""));
    if (answer.error) { this.error = answer.error; return; }
    this.texts.lr = String(answer.lr);
    this.fields.lr.set(this.texts.lr);
  }
  descend() {
    const answer = tried(this.question("run"));
    this.error = answer.error ?? "";
    this.run = answer.error ? null : { ...answer, ...this.style };
    for (const [name, field] of Object.entries(this.fields)) field.mark(this.error !== "" && this.refused(name));
  }
  // Whether it is this field that the library refuses.
  refused(name) {
    if (name === "rho") return "error" in tried({ ask: "rho", rho: this.rho });
    const text = name === "schedule" ? this.question("run").options.lr : this.texts[name];
    return "error" in tried({ ask: "option", rule: this.rule.name, option: name === "schedule" ? "lr" : name, text });
  }

  build() {
    const rule = make("select", { ariaLabel: "Rule" }, ...rules.map(other => make("option", { selected: other === this.rule }, other.name)));
    rule.addEventListener("change", () => { this.setRule(rules[rule.selectedIndex]); this.chooseRate(); rebuild(); this.card.querySelector("select").focus(); });
    const shown = make("input", { type: "checkbox", checked: this.shown });
    shown.addEventListener("change", () => { this.shown = shown.checked; player.show(player.step); });
    const remove = make("button", { type: "button", ariaLabel: `Remove ${this.rule.name}` }, "Remove");
    remove.addEventListener("click", () => { optimisers.splice(optimisers.indexOf(this), 1); rebuild(); byId("add").focus(); });
    const choose = make("button", { type: "button" }, "Choose a learning rate");
    choose.addEventListener("click", () => { this.chooseRate(); this.chosen = true; refresh(); });
    const optionField = option => fieldOf({
      name: option.name, doc: `${option.doc}, ${option.range}`, option, text: this.texts[option.name],
      change: text => { this.texts[option.name] = text; if (option.name === "lr") this.chosen = false; refresh(); },
    });
    const others = this.rule.options.filter(option => option.name !== "lr");
    this.fields = {
      lr: optionField(this.rule.options.find(option => option.name === "lr")),
      schedule: fieldOf({
        name: "schedule", doc: "multiplies the learning rate; a schedule can stand in every other field, too", text: this.schedule, placeholder: "warmup(10%) * cosine(end)",
        change: text => { this.schedule = text; refresh(); },
      }),
      rho: fieldOf({
        name: "SAM's radius", doc: "how far away the gradient is taken, [0, inf); 0: where the weights are", option: { low: 0, high: null }, text: this.rho,
        change: text => { this.rho = text; refresh(); },
      }),
      ...Object.fromEntries(others.map(option => [option.name, optionField(option)])),
    };
    const of = names => names.map(name => this.fields[name].element);
    this.card.replaceChildren(
      make("header", {}, make("label", {}, shown, " ", swatchOf(this.style), make("span", {}, "Show")), rule, remove),
      make("p", {}, this.rule.summary), this.trouble,
      ...of(["lr"]), choose, ...of(["schedule", "rho"]),
      ...(others.length ? [make("details", {}, make("summary", {}, `The other options of ${this.rule.name}`), ...of(others.map(option => option.name)))] : []),
      make("details", {}, make("summary", {}, "Formula and paper"), make("pre", {}, this.rule.formula), make("p", {}, `State: ${this.rule.slots.join(", ") || "none"}. ${this.rule.use}`), make("p", {}, this.rule.paper)));
  }

  // The row of the table at a step.
  tell(step) {
    const cell = (text, className = "") => make("td", { className }, text);
    const name = make("td", {}, swatchOf(this.style), this.label);
    if (!this.run) { this.state.replaceChildren(name, ...["", "", "", ""].map(text => cell(text)), cell("", "text"), cell("no run", "text")); return; }
    const at = Math.min(Math.round(step), this.run.loss.length - 1);
    const state = this.run.state.filter(({ values }) => values[at].length).map(({ slot, values }) => `${slot} (${values[at].map(short).join(", ")})`).join("; ");
    this.state.replaceChildren(name, ...["x", "y", "loss", "lr"].map(key => cell(short(this.run[key][at]))), cell(state || "none", "text"), cell(this.run.end, "text"));
  }
}

// Asks for all runs again and shows them to their ends.
function refresh() {
  for (const optimiser of optimisers) optimiser.descend();
  const errors = optimisers.filter(optimiser => optimiser.error);
  // What all of them are refused for is no fault of one.
  const same = errors.length > 1 && errors.length === optimisers.length && errors.every(optimiser => optimiser.error === errors[0].error);
  const misfits = optimisers.flatMap(optimiser => (optimiser.run?.misfits ?? []).map(misfit => `${optimiser.label}: ${misfit}`));
  const diverged = optimisers.filter(optimiser => optimiser.run?.end.startsWith("diverged")).map(optimiser => `${optimiser.label} ${optimiser.run.end}`);
  for (const optimiser of optimisers) optimiser.trouble.textContent = same ? "" : optimiser.error;
  byId("message").textContent = (same ? [errors[0].error] : errors.map(optimiser => `${optimiser.label}: ${optimiser.error}`)).join("\n");
  byId("notes").textContent = [...diverged, ...misfits].join("\n");
  byId("command").textContent = commandText();
  player.last = Math.max(0, ...optimisers.map(optimiser => (optimiser.run?.loss.length ?? 1) - 1));
  player.show(player.last);
}

// The number or the schedule in TOML.
const tomlText = text => /^-?\d+(\.\d+)?(e[-+]?\d+)?$/i.test(text) ? text : JSON.stringify(text);

// The command that computes the same.
function commandText() {
  const quoted = text => `'${text.replaceAll("'", "'\\''")}'`;
  const words = ["kudari landscape", settings.surface.function];
  for (const optimiser of optimisers) {
    const { options, rho } = optimiser.question("run");
    const pairs = [`rule = ${JSON.stringify(optimiser.rule.name)}`];
    for (const option of optimiser.rule.options) {
      if (option.name === "lr" || options[option.name] !== String(option.default)) pairs.push(`${option.name} = ${tomlText(options[option.name])}`);
    }
    if (Number(rho) !== 0) pairs.push(`source = "sam", sharpness = {rho = ${tomlText(rho)}}`);
    words.push("--optimizer", quoted(`${optimiser.label}={${pairs.join(", ")}}`));
  }
  words.push(`--start=${settings.start.join(",")}`, "--steps", settings.steps);
  if (settings.noise !== 0) words.push("--noise", settings.noise, "--seed", settings.seed);
  return words.join(" ");
}

// Shows the cards and rows of all optimisers.
function rebuild() {
  byId("cards").replaceChildren(...optimisers.map(optimiser => optimiser.card));
  byId("runs").replaceChildren(...optimisers.map(optimiser => optimiser.state));
  byId("add").disabled = optimisers.length === kMostOptimisers;
  refresh();
}

function add(name) {
  const optimiser = new Optimiser(rules.find(rule => rule.name === name));
  optimisers.push(optimiser);
  optimiser.chooseRate();
}

function setStart(x, y) {
  const { low, high } = settings.surface;
  const rounded = (value, k) => Number(Math.min(high[k], Math.max(low[k], value)).toPrecision(4));
  settings.start = [rounded(x, 0), rounded(y, 1)];
  [byId("x").value, byId("y").value] = settings.start;
  refresh();
}

function setSurface(surface) {
  surface.grid ??= ask({ ask: "grid", surface: surface.function });
  settings.surface = surface;
  settings.start = [...surface.start];
  [byId("x").value, byId("y").value] = settings.start;
  byId("about").textContent = `${surface.formula}. ${surface.shows}`;
  byId("bands").textContent = `Dark where the loss is low, in ten bands of ${surface.log_levels ? "one ratio" : "one height"}` + (surface.minima.length ? "; a star marks each minimum." : ".");
  byId("map").setAttribute("aria-label", `The surface ${surface.function} with the path of each optimiser`);
  for (const optimiser of optimisers) if (optimiser.chosen) optimiser.chooseRate();
  refresh();
}

let map = null;
const player = new Player(step => {
  const runs = optimisers.filter(optimiser => optimiser.shown && optimiser.run).map(optimiser => optimiser.run);
  map = drawMap(byId("map"), settings.surface, runs, step);
  drawCurves(byId("curves"), settings.surface, runs, step, player.last);
  for (const optimiser of optimisers) optimiser.tell(step);
  const [x, y] = settings.start.map(value => finite(value) ? value : NaN), start = byId("start");
  start.hidden = Number.isNaN(x + y);
  start.style.left = `${map.x(x)}px`;
  start.style.top = `${map.y(y)}px`;
  start.ariaLabel = `Start at x ${x}, y ${y}; the arrow keys move it`;
});

// The place on the surface under a pointer.
function placeOf(event) {
  const { low, high } = settings.surface, box = byId("map").getBoundingClientRect();
  const share = (value, from, to) => (value - from) / (to - from);
  const across = share(event.clientX - box.left, map.left, map.right), up = share(event.clientY - box.top, map.bottom, map.top);
  return [low[0] + across * (high[0] - low[0]), low[1] + up * (high[1] - low[1])];
}

byId("map").addEventListener("click", event => setStart(...placeOf(event)));
byId("start").addEventListener("pointerdown", event => event.target.setPointerCapture(event.pointerId));
byId("start").addEventListener("pointermove", event => { if (event.target.hasPointerCapture(event.pointerId)) setStart(...placeOf(event)); });
byId("start").addEventListener("keydown", event => {
  const [dx, dy] = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowDown: [0, -1], ArrowUp: [0, 1] }[event.key] ?? [0, 0];
  if (dx === 0 && dy === 0) return;
  event.preventDefault();
  const { low, high } = settings.surface, share = event.shiftKey ? .1 : .01;
  setStart(settings.start[0] + dx * share * (high[0] - low[0]), settings.start[1] + dy * share * (high[1] - low[1]));
});

for (const name of ["steps", "noise", "seed"]) {
  byId(name).value = settings[name];
  byId(name).addEventListener("input", event => { settings[name] = event.target.valueAsNumber; refresh(); });
}
["x", "y"].forEach((name, k) => byId(name).addEventListener("input", event => { settings.start[k] = event.target.valueAsNumber; refresh(); }));
byId("surface").append(...surfaces.map(surface => make("option", {}, surface.function)));
byId("surface").addEventListener("change", event => setSurface(surfaces[event.target.selectedIndex]));
byId("add").addEventListener("click", () => { add("adamw"); rebuild(); optimisers.at(-1).card.querySelector("select").focus(); });

byId("surface").value = "ravine";
setSurface(surfaces.find(surface => surface.function === "ravine"));
for (const name of ["sgd", "momentum", "adam"]) add(name);
rebuild();
