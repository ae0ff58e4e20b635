// The page of the playground. All that is computed is asked of the module.

const packed = Uint8Array.from(atob(byId("module").textContent), character => character.charCodeAt(0));
const ask = await loadModule(await new Response(new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"))).arrayBuffer());
const { surfaces, rules, sources, averagers, styles } = ask({ ask: "list" });
const kMostOptimisers = styles.length;

const settings = { surface: null, start: [], steps: 200, noise: 0, seed: 1 };
const optimisers = [];

function make(tag, attributes = {}, ...children) {
  const element = Object.assign(document.createElement(tag), attributes);
  element.append(...children);
  return element;
}

// An answer, or the message of the error instead, without the words that only a command's reader needs.
function tried(question) {
  try {
    return ask(question);
  } catch (error) {
    return { error: error instanceof WebAssembly.RuntimeError ? "the library stopped, perhaps because memory ran out" : error.message.replace(/^(--|recipe: optimizer\.)/, "") };
  }
}

const named = (parts, name) => parts.find(part => part.name === name);

// The value of a recipe that a text stands for, and back.
function valueOf(text) {
  if (text === "true" || text === "false") return text === "true";
  return /^-?\d+(\.\d+)?(e[-+]?\d+)?$/i.test(text) && Number.isFinite(Number(text)) ? Number(text) : text;
}
const textOf = value => typeof value === "string" ? value : JSON.stringify(value);

// Options in tables have names with dots, such as "lookahead.k". Takes the value of one out of a table
// with its tables, undefined if it is not there; and sets it.
function taken(table, name) {
  const dot = name.indexOf("."), key = dot < 0 ? name : name.slice(0, dot);
  if (dot >= 0) return table[key] === undefined ? undefined : taken(table[key], name.slice(dot + 1));
  const value = table[key];
  delete table[key];
  return value;
}
function put(table, name, value) {
  const dot = name.indexOf(".");
  if (dot < 0) table[name] = value;
  else put(table[name.slice(0, dot)] ??= {}, name.slice(dot + 1), value);
}

// How the position of a slider, in [0, 1], becomes a number of an option and back: by powers of ten
// where there is no upper end, and of what is missing to 1 where the upper end is just below it. Whole
// numbers go one by one, to kWholes above the lowest. Nothing for an option without a lower end.
function trackOf({ low, high, whole }) {
  const kLeast = -8, kMost = 2, kWholes = 30;
  const round = value => Number(value.toPrecision(2));
  if (low === null) return null;
  if (whole) return { steps: kWholes, value: at => low + Math.round(at * kWholes), position: value => (value - low) / kWholes };
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

// A labelled text with a slider, or a list of choices; change is called with the text.
function fieldOf({ name, doc, option = null, text, change, placeholder = "" }) {
  const id = `field${++fields}`;
  const label = make("label", { htmlFor: id }, name), note = make("small", { id: `${id}-note` }, doc);
  const described = input => { input.setAttribute("aria-describedby", note.id); return input; };
  if (option?.choices) {
    const choices = option.choices.map(String);
    const select = described(make("select", { id }, ...choices.map(choice => make("option", { selected: choice === text }, choice))));
    select.addEventListener("change", () => change(select.value));
    return { element: make("div", { className: "field wide" }, label, select, note), set(value) { select.value = value; }, mark() {} };
  }
  const track = option && trackOf(option), steps = track?.steps ?? 1000;
  const input = described(make("input", { id, type: "text", value: text, placeholder, autocomplete: "off", spellcheck: false }));
  const slider = track && make("input", { type: "range", min: 0, max: steps, ariaLabel: `${name}, a slider` });
  const place = () => { if (track && Number.isFinite(Number(input.value))) slider.value = steps * track.position(Number(input.value)); };
  input.addEventListener("input", () => { place(); change(input.value); });
  if (track) slider.addEventListener("input", () => { input.value = track.value(slider.value / steps); change(input.value); });
  place();
  return {
    element: make("div", { className: track ? "field" : "field wide" }, label, input, ...(track ? [slider] : []), note),
    set(value) { input.value = value; place(); },
    mark(error) { input.setAttribute("aria-invalid", String(error)); },
  };
}

const papersOf = ({ name, formula, use, paper }) => make("details", {},
  make("summary", {}, `Formula and paper of ${name}`), ...(formula ? [make("pre", {}, formula)] : []), ...[use, paper].filter(text => text).map(text => make("p", {}, text)));

// An optimiser: its table in a recipe, its card, its row of the page's table, and what came of its run.
class Optimiser {
  shown = true;
  run = null;
  error = "";
  schedule = "";
  fields = {};
  card = make("section", { className: "card" });
  heading = null;
  gradient = null;
  trouble = make("p", { className: "error" });
  also = make("p");
  state = make("tr");

  // From a settings' optimizer, see presets.json.
  constructor({ label, optimizer, lr_given: given = "lr" in optimizer }) {
    const others = optimisers.map(other => other.style);
    this.style = styles.find(style => !others.includes(style));
    const rest = structuredClone(optimizer);
    this.rule = named(rules, taken(rest, "rule"));
    this.source = named(sources, taken(rest, "source") ?? "plain");
    this.averagers = new Set(averagers.filter(({ name }) => name in rest));
    this.chosen = !given;
    this.texts = {};
    for (const { name } of this.options()) {
      const value = taken(rest, name);
      if (value !== undefined) this.texts[name] = textOf(value);
    }
    const product = /^(-?[\d.]+(?:e[-+]?\d+)?) \* (.+)$/i.exec(this.texts.lr ?? "");
    if (product) [, this.texts.lr, this.schedule] = product;
    // What has no field, such as clip_norm.
    this.rest = Object.fromEntries(Object.entries(rest).filter(([, value]) => tomlOf(value) !== "{}"));
    this.name = label === this.rule.name ? "" : label ?? "";
    this.build();
  }
  get label() {
    if (this.name) return this.name;
    const same = optimisers.filter(other => !other.name && other.rule === this.rule);
    return this.rule.name + (same.length > 1 ? ` ${same.indexOf(this) + 1}` : "");
  }

  // The options that have a field.
  options() { return [this.rule, this.source, ...this.averagers].flatMap(part => part.options); }
  textOf(option) { return this.texts[option.name] ?? String(option.default); }

  // The table of a recipe's [optimizer] without defaults; the schedule multiplies the learning rate.
  table() {
    const table = { rule: this.rule.name, ...structuredClone(this.rest) };
    for (const part of [this.rule, this.source, ...this.averagers]) {
      if (part === this.source && part.name !== "plain") table.source = part.name;
      if (this.averagers.has(part)) table[part.name] ??= {};
      for (const option of part.options) {
        const text = this.textOf(option);
        if (option.name === "lr") table.lr = valueOf(this.schedule.trim() ? `${text} * ${this.schedule}` : text);
        else if (text !== String(option.default)) put(table, option.name, valueOf(text));
      }
    }
    return table;
  }
  ask(what, optimizer) {
    const { surface, ...others } = settings;
    return tried({ ask: what, surface: surface.function, ...others, optimizer });
  }
  chooseRate() {
    const { lr, ...others } = this.table();
    const answer = this.ask("rate", others);
    if (answer.error) { this.error = answer.error; return; }
    this.texts.lr = String(answer.lr);
    this.fields.lr.set(this.texts.lr);
  }
  descend() {
    const answer = this.ask("run", this.table());
    this.error = answer.error ?? "";
    this.run = answer.error ? null : { ...answer, ...this.style };
    const wrong = this.error ? name => this.refuses(name) : () => false;
    for (const [name, field] of Object.entries(this.fields)) field.mark(wrong(name));
  }
  // Whether the library refuses what was put into this field.
  refuses(name) {
    const text = name === "schedule" ? this.schedule : this.texts[name];
    if (text === undefined || (name === "schedule" && !text.trim())) return false;
    const table = { rule: this.rule.name, source: this.source.name };
    put(table, name === "schedule" ? "lr" : name, valueOf(text));
    return "error" in tried({ ask: "check", optimizer: table });
  }

  // The elements of fields for options.
  fieldsOf(options) {
    return options.map(option => {
      const field = fieldOf({
        name: option.name, doc: option.choices ? option.doc : `${option.doc}, ${option.range}`, option, text: this.textOf(option),
        change: text => { this.texts[option.name] = text; if (option.name === "lr") this.chosen = false; refresh(); },
      });
      this.fields[option.name] = field;
      return field.element;
    });
  }
  // Takes another rule or source; what was set of the old one goes, and so does a name given to both.
  setPart(kind, part) {
    for (const { name } of this[kind].options) { delete this.texts[name]; delete this.fields[name]; }
    this[kind] = part;
    this.name = "";
    this.heading.hidden = true;
  }
  setRule(rule) {
    this.setPart("rule", rule);
    this.chosen = true;
    this.build();
    this.chooseRate();
    rebuild();
    this.card.querySelector(".rule").focus();
  }
  setSource(source) {
    this.setPart("source", source);
    delete this.rest.sharpness;
    this.showRest();
    this.showSource();
    if (this.chosen) this.chooseRate();
    refresh();
  }
  choiceOf(part, parts, label, set) {
    const select = make("select", { className: part, ariaLabel: label }, ...parts.map(other => make("option", { selected: other === this[part] }, other.name)));
    select.addEventListener("change", () => set(parts[select.selectedIndex]));
    return select;
  }
  showRest() {
    const rest = tomlOf(this.rest);
    this.also.hidden = rest === "{}";
    this.also.replaceChildren("Also: ", make("code", {}, rest));
  }
  showSource() {
    this.gradient.replaceChildren(make("p", {}, this.source.summary), ...this.fieldsOf(this.source.options), ...(this.source.formula ? [papersOf(this.source)] : []));
  }
  // A box that switches an averager on, with its fields.
  averagerOf(averager) {
    const on = make("input", { type: "checkbox", checked: this.averagers.has(averager) });
    const more = make("div", { hidden: !on.checked });
    const show = () => {
      more.hidden = !on.checked;
      more.replaceChildren(...(on.checked ? [...this.fieldsOf(averager.options), papersOf(averager)] : []));
    };
    on.addEventListener("change", () => {
      if (on.checked) this.averagers.add(averager);
      else this.averagers.delete(averager);
      for (const { name } of averager.options) { delete this.texts[name]; delete this.fields[name]; }
      show();
      refresh();
    });
    show();
    return make("div", {}, make("label", {}, on, ` ${averager.name}`), make("p", {}, averager.summary), more);
  }

  build() {
    this.fields = {};
    const shown = make("input", { type: "checkbox", checked: this.shown });
    shown.addEventListener("change", () => { this.shown = shown.checked; player.show(player.step); });
    const remove = make("button", { type: "button", ariaLabel: `Remove ${this.rule.name}` }, "Remove");
    remove.addEventListener("click", () => { optimisers.splice(optimisers.indexOf(this), 1); rebuild(); byId("add").focus(); });
    const choose = make("button", { type: "button" }, "Choose a learning rate");
    choose.addEventListener("click", () => { this.chooseRate(); this.chosen = true; refresh(); });
    const [lr, others] = [true, false].map(is => this.rule.options.filter(({ name }) => (name === "lr") === is));
    const rate = this.fieldsOf(lr);
    this.fields.schedule = fieldOf({
      name: "schedule", doc: "multiplies the learning rate; a schedule can stand in most other fields, too", text: this.schedule, placeholder: "warmup(10%) * cosine(end)",
      change: text => { this.schedule = text; refresh(); },
    });
    const details = (summary, open, ...children) => children.length ? [make("details", { open }, make("summary", {}, summary), ...children)] : [];
    this.heading = make("h3", { hidden: !this.name }, this.name);
    this.gradient = make("div");
    this.showRest();
    this.showSource();
    this.card.replaceChildren(
      make("header", {}, make("label", {}, shown, " ", swatchOf(this.style), make("span", {}, "Show")), this.choiceOf("rule", rules, "Rule", rule => this.setRule(rule)), remove),
      this.heading,
      make("p", {}, this.rule.summary), this.trouble,
      ...rate, choose, this.fields.schedule.element,
      this.also,
      ...details(`The other options of ${this.rule.name}`, false, ...this.fieldsOf(others)),
      make("label", { className: "gradient" }, "Gradient ", this.choiceOf("source", sources, "Gradient", source => this.setSource(source))), this.gradient,
      ...details("Averages of the weights", this.averagers.size > 0, ...averagers.map(averager => this.averagerOf(averager))),
      papersOf({ ...this.rule, use: `State: ${this.rule.slots.join(", ") || "none"}. ${this.rule.use}` }));
  }

  // The row of the table at a step.
  tell(step) {
    const cell = (text, className = "") => make("td", { className }, text);
    const name = make("td", {}, swatchOf(this.style), this.label);
    if (!this.run) { this.state.replaceChildren(name, ...["", "", "", ""].map(text => cell(text)), cell("", "text"), cell("no run", "text")); return; }
    const at = Math.min(Math.round(step), this.run.loss.length - 1);
    const state = this.run.state.filter(({ values }) => values[at].length).map(({ slot, values }) => `${slot} (${values[at].map(short).join(", ")})`);
    if (this.run.evaluated) state.push(`to evaluate (${["x", "y"].map(key => short(this.run.evaluated[key][at])).join(", ")}), loss ${short(this.run.evaluated.loss[at])}`);
    this.state.replaceChildren(name, ...["x", "y", "loss", "lr"].map(key => cell(short(this.run[key][at]))), cell(state.join("; ") || "none", "text"), cell(this.run.end, "text"));
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
  const thin = optimisers.some(optimiser => optimiser.run?.evaluated) ? ["Thin lines: the weights to evaluate, which averagers and schedule-free rules have beside those that are trained."] : [];
  byId("legend").replaceChildren(...optimisers.map(optimiser => make("span", {}, swatchOf(optimiser.style), optimiser.label)));
  byId("notes").textContent = [...diverged, ...misfits, ...thin].join("\n");
  byId("command").textContent = commandText();
  player.last = Math.max(0, ...optimisers.map(optimiser => (optimiser.run?.loss.length ?? 1) - 1));
  player.show(player.last);
}

// The command that computes the same.
function commandText() {
  const quoted = text => `'${text.replaceAll("'", "'\\''")}'`;
  const words = ["kudari landscape", settings.surface.function];
  for (const optimiser of optimisers) words.push("--optimizer", quoted(`${optimiser.label}=${tomlOf(optimiser.table())}`));
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

function add(optimizer) {
  const optimiser = new Optimiser(optimizer);
  optimisers.push(optimiser);
  if (!("lr" in optimiser.texts)) optimiser.chooseRate();
}

function setStart(x, y) {
  const { low, high } = settings.surface;
  const rounded = (value, k) => Number(Math.min(high[k], Math.max(low[k], value)).toPrecision(4));
  settings.start = [rounded(x, 0), rounded(y, 1)];
  showStart();
  refresh();
}

// Shows where runs begin.
function showStart() { [byId("x").value, byId("y").value] = settings.start; }

function setSurface(surface) {
  surface.grid ??= ask({ ask: "grid", surface: surface.function });
  settings.surface = surface;
  settings.start = [...surface.start];
  showStart();
  byId("about").textContent = `${surface.formula}. ${surface.shows}`;
  byId("bands").textContent = `Dark where the loss is low, in ten bands of ${surface.log_levels ? "one ratio" : "one height"}` + (surface.minima.length ? "; a star marks each minimum." : ".");
  byId("map").setAttribute("aria-label", `The surface ${surface.function} with the path of each optimiser`);
}

const kNumbers = ["steps", "noise", "seed"];

// Begins with settings, see presets.json; what they do not say is as in a command that does not say it.
function begin({ function: name, start, look = "", optimizers, ...others }) {
  optimisers.length = 0;
  setSurface(surfaces.find(surface => surface.function === name));
  byId("surface").value = name;
  if (start) { settings.start = [...start]; showStart(); }
  const numbers = { steps: 200, noise: 0, seed: 1, ...others };
  for (const number of kNumbers) byId(number).value = settings[number] = numbers[number];
  byId("look").textContent = look;
  for (const optimizer of optimizers) add(optimizer);
  rebuild();
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

for (const name of kNumbers) byId(name).addEventListener("input", event => { settings[name] = event.target.valueAsNumber; refresh(); });
["x", "y"].forEach((name, k) => byId(name).addEventListener("input", event => { settings.start[k] = event.target.valueAsNumber; refresh(); }));
byId("surface").append(...surfaces.map(surface => make("option", {}, surface.function)));
byId("surface").addEventListener("change", event => {
  setSurface(surfaces[event.target.selectedIndex]);
  for (const optimiser of optimisers) if (optimiser.chosen) optimiser.chooseRate();
  refresh();
});
byId("add").addEventListener("click", () => { add({ optimizer: { rule: "adamw" } }); rebuild(); optimisers.at(-1).card.querySelector(".rule").focus(); });

// Those of the command that has written this page, if one has, and the presets.
const ofCommand = JSON.parse(byId("settings").textContent);
const beginnings = [...(ofCommand ? [{ name: "The command", ...ofCommand }] : []), ...JSON.parse(byId("presets").textContent)];
byId("preset").append(...beginnings.map(({ name }) => make("option", {}, name)));
const beginAgain = () => begin(beginnings[byId("preset").selectedIndex]);
byId("preset").addEventListener("change", beginAgain);
byId("again").addEventListener("click", beginAgain);
beginAgain();
