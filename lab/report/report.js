"use strict";
const byId = id => document.getElementById(id);
const data = JSON.parse(byId("data").textContent);
const runs = data.runs.filter(run => run.error === undefined);
for (const run of runs) run.shown = true;

// ---- Texts ----

const short = x => x === null || x === undefined ? "not finite" : Number(x.toPrecision(5)).toLocaleString("en", { maximumSignificantDigits: 5, notation: x !== 0 && (Math.abs(x) < 1e-3 || Math.abs(x) >= 1e6) ? "scientific" : "standard" }).replace("E", "e");
const whole = n => n.toLocaleString("en");
const counted = (n, what) => `${whole(n)} ${what}${n === 1 ? "" : "s"}`;
function timeText(seconds) {
  if (seconds === undefined) return "–";
  if (seconds < 60) return `${short(Number(seconds.toPrecision(3)))} s`;
  const minutes = Math.round(seconds / 60);
  return minutes < 60 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}
const cell = (...children) => element("td", {}, ...children);
const heading = (text, scope = "col") => element("th", { scope }, text);
const sentence = text => text.charAt(0).toUpperCase() + text.slice(1) + (/[.!?]$/.test(text) ? "" : ".");

// A piece of a run's line.
function swatch(run) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg"), line = document.createElementNS(svg.namespaceURI, "line");
  for (const [name, value] of Object.entries({ width: 26, height: 8, class: "swatch", "aria-hidden": true })) svg.setAttribute(name, value);
  for (const [name, value] of Object.entries({ x1: 0, y1: 4, x2: 26, y2: 4, stroke: run.colour, "stroke-width": 3, "stroke-dasharray": run.dashes || "none" })) line.setAttribute(name, value);
  svg.append(line);
  return svg;
}

// ---- Curves by name ----

// A curve of several runs: what is the same in all of them, and the part of each.
const curves = [];
for (const run of runs) {
  for (const curve of run.curves) {
    let found = curves.find(c => c.name === curve.name);
    if (found === undefined) curves.push(found = { name: curve.name, title: curve.title, higher: curve.higher, log: curve.log, parts: [] });
    found.parts.push({ run, ...curve });
  }
}
const drawn = curves.filter(curve => curve.parts.some(part => part.count > 1));
const partOf = (curve, run) => curve?.parts.find(part => part.run === run);

// ---- Runs and verdicts ----

function showRuns() {
  const evaluations = curves.filter(curve => /^(val|eval|dev)/i.test(curve.name)), tests = curves.filter(curve => /^test/i.test(curve.name));
  const loss = curves.find(curve => curve.name === "loss");
  const columns = [...(loss ? [["Last training loss", run => [partOf(loss, run)?.last]]] : [])];
  for (const curve of evaluations) {
    columns.push([`Best ${curve.title.toLowerCase()}`, run => { const part = partOf(curve, run); return [part && (curve.higher ? part.high : part.low), true]; }]);
    columns.push([`Last ${curve.title.toLowerCase()}`, run => [partOf(curve, run)?.last]]);
  }
  for (const curve of tests) columns.push([curve.title, run => [partOf(curve, run)?.last]]);
  const head = element("tr", {}, ...["Run", "State", "Steps", "Time"].map(text => heading(text)), ...columns.map(([title]) => heading(title)));
  const body = element("tbody");
  for (const run of runs) {
    const box = element("input", { type: "checkbox", checked: true });
    box.addEventListener("change", () => { run.shown = box.checked; drawCharts(); });
    const row = element("tr", {}, element("th", { scope: "row", title: run.path }, element("label", {}, box, swatch(run), run.name)), cell(run.state ?? "log"),
      cell(whole(run.step) + (run.planned > 0 ? ` of ${whole(run.planned)}` : "")), cell(timeText(run.seconds)));
    for (const [, read] of columns) {
      const [point, at] = read(run);
      row.append(point === undefined || point === null ? cell("–") : cell(short(point.value), at ? element("span", { className: "at" }, ` at ${whole(point.step)}`) : ""));
    }
    body.append(row);
  }
  byId("runs").append(element("thead", {}, head), body);
  for (const run of data.runs.filter(run => run.error !== undefined)) byId("unread").append(element("li", {}, `${run.name} could not be read: ${run.error}`));
  for (const run of runs) for (const note of run.notes) byId("unread").append(element("li", {}, `${run.name}: ${note}`));
}

const findings = runs.flatMap(run => run.findings.map(finding => ({ run, ...finding })));
findings.forEach((finding, k) => { finding.number = k + 1; });

function showVerdicts() {
  const box = byId("verdicts");
  for (const f of findings) {
    const show = element("button", { type: "button" }, "Show on the curves");
    show.addEventListener("click", () => showSteps(f));
    const article = element("article", {}, element("h3", {}, `${f.number}. ${f.verdict}`, swatch(f.run), f.run.name), element("p", {}, sentence(f.meaning)),
      element("p", {}, `Steps ${whole(f.first_step)} to ${whole(f.last_step)}, confidence ${f.confidence.toFixed(2)}. ${sentence(f.evidence)}`),
      element("p", {}, element("b", {}, "What to do: "), sentence(f.action)), element("p", { className: "hint" }, `Source: ${sentence(f.source)}`), show);
    article.style.borderColor = f.run.colour;
    box.append(article);
  }
  const healthy = runs.filter(run => run.findings.length === 0);
  const judged = healthy.filter(run => run.not_judged.length === 0), partly = healthy.filter(run => run.not_judged.length > 0);
  const names = list => list.map(run => run.name).join(", ");
  if (judged.length > 0) box.append(element("p", {}, `Nothing wrong found in ${names(judged)}.`));
  if (partly.length > 0) box.append(element("p", {}, `Nothing wrong found in what can be judged of ${names(partly)}.`));
  const notes = element("ul", { className: "notes" });
  for (const run of runs) {
    for (const note of run.seen) notes.append(element("li", {}, `${run.name}, seen: ${sentence(note.text)}`));
    for (const note of run.not_judged) notes.append(element("li", {}, `${run.name}, not judged: ${sentence(note.text)}`));
  }
  box.append(notes);
}

// ---- What steps are measured in ----

const axes = [["step", "Step"], ["epoch", "Epoch"], ["seconds", "Seconds"], ["gradients", "Gradients"]].filter(([key]) => key === "step" || runs.some(run => run.axes[key]));
const view = { axis: "step", logX: false, smoothing: 0, marks: true, range: null };

// The last index with xs[i] <= x, at least 0.
function before(xs, x) {
  let low = 0, high = xs.length - 1;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (xs[middle] <= x) low = middle; else high = middle - 1;
  }
  return low;
}

// The place of a step on the axis; undefined if the run does not have it.
function placeOf(run, step) {
  if (view.axis === "step") return step;
  const axis = run.axes[view.axis];
  if (axis === undefined) return undefined;
  const { steps, values } = axis;
  if (steps.length < 2) return values[0];
  const i = Math.min(before(steps, step), steps.length - 2);
  return values[i] + (values[i + 1] - values[i]) * (step - steps[i]) / (steps[i + 1] - steps[i]);
}

// Places and values for a chart; places rise, and those that a logarithmic axis cannot have are left out.
function lineOf(run, steps, values, logY) {
  const xs = [], ys = [];
  for (let i = 0; i < steps.length; i++) {
    let x = placeOf(run, steps[i]);
    if (x === undefined || (view.logX && !(x > 0))) continue;
    const last = xs.at(-1) ?? -Infinity;
    if (x <= last) x = last + Math.max(Math.abs(last), 1) * 1e-12;
    xs.push(x);
    ys.push(logY && !(values[i] > 0) ? null : values[i]);
  }
  return [xs, ys];
}

// Exponential means that do not lean towards where they begin; of the means of parts if there are any.
function smoothedLine(part, logY) {
  const steps = part.mean_steps ?? part.steps, values = part.mean_values ?? part.values;
  let mean = 0, weight = 0;
  const smooth = values.map(value => {
    if (value === null) return null;
    mean = view.smoothing * mean + (1 - view.smoothing) * value;
    weight = view.smoothing * weight + 1 - view.smoothing;
    return mean / weight;
  });
  return lineOf(part.run, steps, smooth, logY);
}

// ---- Charts ----

const colourOf = name => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const dashOf = run => run.dashes ? run.dashes.split(" ").map(Number) : undefined;
const charts = [];

class Chart {
  constructor(curve) {
    this.curve = curve;
    this.logY = curve.log;
    this.box = element("div", { className: "chart", tabIndex: 0 });
    this.box.setAttribute("role", "group");
    this.box.setAttribute("aria-label", `${curve.title}: the arrow keys read its values, plus and minus zoom`);
    this.values = element("output", { className: "values" });
    this.values.setAttribute("aria-live", "off");
    const log = element("input", { type: "checkbox", checked: this.logY });
    log.addEventListener("change", () => { this.logY = log.checked; this.draw(); showRange(); });
    log.setAttribute("aria-label", `${curve.title} on a logarithmic axis`);
    this.table = element("details", {}, element("summary", {}, `${curve.title} as a table`));
    this.table.addEventListener("toggle", () => this.fillTable());
    byId("curves").append(element("figure", {}, element("div", { className: "head" }, element("h3", {}, curve.title), element("label", {}, log, " logarithmic")),
      this.box, this.values, element("figcaption", {}, this.caption()), this.table));
    this.box.addEventListener("keydown", event => this.press(event));
    this.box.addEventListener("focus", () => this.values.setAttribute("aria-live", "polite"));
    this.box.addEventListener("blur", () => this.values.setAttribute("aria-live", "off"));
  }

  caption() {
    const sampled = this.curve.parts.filter(part => part.mean_steps), odd = this.curve.parts.filter(part => part.not_finite > 0);
    const texts = [];
    if (sampled.length > 0) {
      const most = sampled.reduce((a, b) => a.count >= b.count ? a : b);
      texts.push(`Drawn from ${whole(most.steps.length)} of ${whole(most.count)} values, with the lowest and the highest of each stretch; the run's log has all of them.`);
    }
    for (const part of odd.slice(0, 3)) texts.push(`${part.run.name}: ${counted(part.not_finite, "value")} not finite.`);
    return texts.join(" ");
  }

  draw() {
    this.plot?.destroy();
    this.lines = this.curve.parts.filter(part => part.run.shown).map(part => ({ part, line: lineOf(part.run, part.steps, part.values, this.logY) })).filter(({ line }) => line[0].length > 0);
    const points = { fill: colourOf("--paper") };
    const tables = this.lines.map(({ line }) => line), series = this.lines.map(({ part }) => ({ label: part.run.name, stroke: part.run.colour, width: 1.6, dash: dashOf(part.run), points, alpha: view.smoothing > 0 ? .3 : 1 }));
    if (view.smoothing > 0) {
      for (const entry of this.lines) {
        entry.smooth = smoothedLine(entry.part, this.logY);
        tables.push(entry.smooth);
        series.push({ label: `${entry.part.run.name}, smoothed`, stroke: entry.part.run.colour, width: 2, dash: dashOf(entry.part.run), points: { show: false } });
      }
    }
    const ink = colourOf("--ink"), grid = { stroke: colourOf("--grid"), width: 1 };
    const axis = { stroke: ink, grid, ticks: grid, font: "12px Inter, Arial, sans-serif" };
    const number = (_, ticks) => ticks.map(tick => tick === null ? "" : short(tick));
    this.plot = new uPlot({
      width: this.box.clientWidth, height: 260, legend: { show: false }, padding: [18, 28, 0, 0],
      cursor: { sync: { key: "kudari" }, drag: { x: true, y: false }, points: { size: 7 } },
      scales: { x: { time: false, distr: view.logX ? 3 : 1 }, y: { distr: this.logY ? 3 : 1 } },
      axes: [{ ...axis, values: number, space: 60 }, { ...axis, values: number, size: 64 }],
      series: [{}, ...series],
      hooks: {
        drawAxes: [() => this.drawMarks()],
        setCursor: [plot => this.showValues(plot.cursor.idx)],
        setSelect: [plot => { if (plot.select.width > 0) zoomTo(plot.posToVal(plot.select.left, "x"), plot.posToVal(plot.select.left + plot.select.width, "x")); }],
      },
    }, tables.length > 0 ? uPlot.join(tables) : [[], ...series.map(() => [])], this.box);
    this.plot.over.addEventListener("dblclick", () => zoomTo());
    this.showValues(null);
  }

  // The values at a place of the data, or the last ones.
  showValues(index) {
    const x = index === null || index === undefined ? null : this.plot.data[0][index];
    const most = 8, parts = [element("b", {}, x === null ? "last" : `${axes.find(([key]) => key === view.axis)[1].toLowerCase()} ${short(x)}`)];
    for (const { part, line, smooth } of this.lines.slice(0, most)) {
      const of = ([xs, ys]) => short(ys[x === null ? ys.length - 1 : before(xs, x)]);
      parts.push(element("span", {}, swatch(part.run), `${part.run.name} ${of(line)}${smooth?.[0].length > 0 ? ` (smoothed ${of(smooth)})` : ""}`));
    }
    if (this.lines.length > most) parts.push(element("span", {}, `and ${this.lines.length - most} more`));
    this.values.replaceChildren(...parts);
  }

  // The steps of verdicts as bands, and where values are not finite as triangles.
  drawMarks() {
    const { ctx, bbox } = this.plot, ratio = devicePixelRatio, at = x => Math.min(Math.max(this.plot.valToPos(x, "x", true), bbox.left), bbox.left + bbox.width);
    ctx.save();
    ctx.font = `${12 * ratio}px Inter, Arial, sans-serif`;
    ctx.textAlign = "center";
    for (const f of view.marks ? findings : []) {
      const from = placeOf(f.run, f.first_step), to = placeOf(f.run, f.last_step), { min, max } = this.plot.scales.x;
      if (!f.run.shown || !partOf(this.curve, f.run) || from === undefined || to < min || from > max) continue;
      const left = at(from), right = Math.max(at(to), left + 2 * ratio);
      ctx.fillStyle = f.run.colour;
      ctx.globalAlpha = .13;
      ctx.fillRect(left, bbox.top, right - left, bbox.height);
      ctx.globalAlpha = 1;
      ctx.fillRect(left, bbox.top, right - left, 2 * ratio);
      ctx.fillStyle = colourOf("--ink");
      ctx.fillText(String(f.number), (left + right) / 2, bbox.top - 4 * ratio);
    }
    for (const { part } of this.lines) {
      if (part.not_finite === 0) continue;
      ctx.fillStyle = part.run.colour;
      part.values.forEach((value, i) => {
        if (value !== null) return;
        const x = placeOf(part.run, part.steps[i]), { min, max } = this.plot.scales.x;
        if (x === undefined || x < min || x > max) return;
        ctx.beginPath();
        ctx.moveTo(at(x), bbox.top + bbox.height - 8 * ratio);
        ctx.lineTo(at(x) - 4 * ratio, bbox.top + bbox.height);
        ctx.lineTo(at(x) + 4 * ratio, bbox.top + bbox.height);
        ctx.fill();
      });
    }
    ctx.restore();
  }

  press(event) {
    const length = this.plot.data[0].length, step = event.shiftKey ? 10 : 1;
    if (length === 0 || event.ctrlKey || event.altKey || event.metaKey) return;
    const now = this.plot.cursor.idx, moves = { ArrowRight: (now ?? -1) + step, ArrowLeft: (now ?? length) - step, Home: 0, End: length - 1 };
    if (event.key in moves) {
      const x = this.plot.data[0][Math.min(Math.max(moves[event.key], 0), length - 1)];
      this.plot.setCursor({ left: this.plot.valToPos(x, "x"), top: this.plot.over.clientHeight / 2 });
    } else if (event.key === "+" || event.key === "=") zoomBy(.5);
    else if (event.key === "-") zoomBy(2);
    else if (event.key === "Escape" || event.key === "0") zoomTo();
    else return;
    event.preventDefault();
  }

  fillTable() {
    if (!this.table.open || this.table.querySelector("table")) return;
    const rows = this.curve.parts.map(part => element("tr", {}, element("th", { scope: "row" }, part.run.name), cell(whole(part.count)), ...["first", "low", "high", "last"].map(key =>
      part[key] ? cell(short(part[key].value), element("span", { className: "at" }, ` at ${whole(part[key].step)}`)) : cell("–")), cell(whole(part.not_finite))));
    const box = element("div", { className: "scroll", tabIndex: 0 }, element("table", {}, element("thead", {}, element("tr", {}, ...["Run", "Values", "First", "Lowest", "Highest", "Last", "Not finite"].map(text => heading(text)))), element("tbody", {}, ...rows)));
    box.setAttribute("role", "region");
    box.setAttribute("aria-label", `${this.curve.title} as a table`);
    this.table.append(box);
  }
}

function drawCharts() {
  for (const chart of charts) chart.draw();
  showRange();
}

// ---- Zoom, of all charts at once ----

function wholeRange() {
  const ends = charts.flatMap(chart => chart.lines.flatMap(({ line: [xs] }) => [xs[0], xs.at(-1)]));
  return ends.length === 0 ? null : { min: Math.min(...ends), max: Math.max(...ends) };
}

// Without a range all is shown.
function zoomTo(min, max) {
  const all = wholeRange();
  if (all === null) return;
  const given = min !== undefined && max > min && (min > all.min || max < all.max);
  view.range = given ? { min: Math.max(min, all.min), max: Math.min(max, all.max) } : null;
  if (view.range && !(view.range.max > view.range.min)) view.range = null;
  showRange();
}

// All charts show the same part of their axis.
function showRange() {
  const range = view.range ?? wholeRange();
  for (const { plot } of charts) {
    plot.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
    if (range !== null && plot.data[0].length > 0) plot.setScale("x", range);
  }
  for (const id of ["left", "right", "out", "all"]) byId(id).disabled = view.range === null;
}

function zoomBy(factor, shift = 0) {
  const now = view.range ?? wholeRange();
  if (now === null) return;
  const there = view.logX ? Math.log : x => x, back = view.logX ? Math.exp : x => x;
  const low = there(now.min), high = there(now.max), middle = (low + high) / 2 + shift * (high - low), half = (high - low) / 2 * factor;
  zoomTo(back(middle - half), back(middle + half));
}

// The steps of a finding with some around them.
function showSteps(f) {
  const from = placeOf(f.run, f.first_step), to = placeOf(f.run, f.last_step);
  if (from === undefined) return;
  const margin = Math.max((to - from) * .1, (to + from) * 1e-3, 1e-9);
  zoomTo(from - margin, to + margin);
  byId("curves-title").scrollIntoView({ block: "start" });
}

// ---- Norms by layer ----

function showLayers() {
  const with_layers = runs.filter(run => run.layers);
  if (with_layers.length === 0) return;
  byId("layers").hidden = false;
  byId("layers-run").append(...with_layers.map((run, k) => new Option(run.name, k)));
  const chosen = () => [with_layers[byId("layers-run").value], byId("layers-what").value];
  const canvas = byId("heat"), rowHeight = 16;
  let place = null;
  const draw = () => {
    const [run, what] = chosen(), { names, steps } = run.layers, rows = run.layers[what], ratio = devicePixelRatio;
    const positive = rows.flat().filter(x => x > 0), low = Math.log(Math.min(...positive)), high = Math.log(Math.max(...positive));
    const width = canvas.clientWidth, margin = Math.min(220, width * .38);
    canvas.style.height = `${rowHeight * names.length + 22}px`;
    canvas.width = width * ratio;
    canvas.height = (rowHeight * names.length + 22) * ratio;
    const ctx = canvas.getContext("2d");
    ctx.scale(ratio, ratio);
    ctx.font = "12px Inter, Arial, sans-serif";
    const wide = (width - margin) / steps.length;
    names.forEach((name, k) => {
      rows[k].forEach((value, i) => {
        const share = high > low ? (Math.log(value) - low) / (high - low) : 1;
        ctx.fillStyle = value === null ? colourOf("--panel") : data.viridis[value > 0 ? Math.round(share * (data.viridis.length - 1)) : 0];
        ctx.fillRect(margin + i * wide, k * rowHeight, wide + .5, rowHeight - 1);
      });
      ctx.fillStyle = colourOf("--ink");
      let text = name;
      while (text.length > 1 && ctx.measureText(text).width > margin - 8) text = "…" + text.slice(text.startsWith("…") ? 2 : 1);
      ctx.fillText(text, 0, k * rowHeight + 12);
    });
    ctx.fillText(`step ${whole(steps[0])}`, margin, rowHeight * names.length + 16);
    ctx.textAlign = "right";
    ctx.fillText(whole(steps.at(-1)), width, rowHeight * names.length + 16);
    place = (x, y) => {
      const i = Math.floor((x - margin) / wide), k = Math.floor(y / rowHeight);
      return i >= 0 && i < steps.length && k >= 0 && k < names.length ? `${names[k]}, step ${whole(steps[i])}: ${short(rows[k][i])}` : "";
    };
    const title = byId("layers-what").selectedOptions[0].text;
    canvas.setAttribute("aria-label", `The ${title} of each layer of ${run.name} over the steps; the table below has its numbers`);
    byId("heat-caption").textContent = positive.length === 0 ? "" : `Dark blue is ${short(Math.exp(low))}, yellow ${short(Math.exp(high))}, on a logarithmic scale. Input at the top, output at the bottom. Where several measurements share a place, the highest is shown.`;
    const table = element("table", {}, element("thead", {}, element("tr", {}, ...["Layer", "First", "Lowest", "Highest", "Last"].map(text => heading(text)))),
      element("tbody", {}, ...names.map((name, k) => {
        const known = rows[k].filter(x => x !== null);
        return element("tr", {}, element("th", { scope: "row" }, name), ...(known.length > 0 ? [known[0], Math.min(...known), Math.max(...known), known.at(-1)].map(x => cell(short(x))) : Array.from({ length: 4 }, () => cell("–"))));
      })));
    byId("heat-table").querySelector("div").replaceChildren(table);
  };
  canvas.addEventListener("pointermove", event => { byId("heat-value").textContent = place(event.offsetX, event.offsetY); });
  for (const id of ["layers-run", "layers-what"]) byId(id).addEventListener("change", draw);
  showLayers.draw = draw;
  draw();
}

// ---- Recipes, pictures, numbers ----

function showRecipes() {
  const with_recipe = data.runs.filter(run => run.recipe !== undefined);
  if (with_recipe.length === 0) return;
  byId("recipes").hidden = false;
  if (with_recipe.length > 1) {
    byId("same").textContent = data.differences.length === 0 ? "The recipes are the same." : `The recipes differ in ${counted(data.differences.length, "option")}.`;
  }
  if (data.differences.length > 0) {
    byId("differences-box").hidden = false;
    byId("differences").className = "text";
    const columns = data.runs.map((run, k) => [run, k]).filter(([run]) => run.recipe !== undefined);
    byId("differences").append(element("thead", {}, element("tr", {}, heading("Option"), ...columns.map(([run]) => heading(run.name)))),
      element("tbody", {}, ...data.differences.map(({ key, values }) => {
        const first = values[columns[0][1]];
        return element("tr", {}, heading(key, "row"), ...columns.map(([, k]) => element("td", { className: values[k] !== null && values[k] !== first ? "other" : "" }, values[k] ?? "–")));
      })));
  }
  for (const run of with_recipe) {
    const text = element("pre", { tabIndex: 0 }, run.recipe);
    text.setAttribute("aria-label", `Recipe of ${run.name}`);
    text.setAttribute("role", "region");
    byId("recipe-texts").append(element("details", {}, element("summary", {}, `Recipe of ${run.name}`), text));
  }
}

function showPictures() {
  const all = runs.flatMap(run => (run.pictures ?? []).map(picture => ({ run, ...picture })));
  byId("pictures").hidden = all.length === 0;
  for (const { run, name, data: source } of all) byId("picture-list").append(element("figure", {}, element("img", { src: source, alt: `${name} of ${run.name}` }), element("figcaption", {}, `${run.name}: ${name}`)));
}

function saveCsv() {
  const quoted = text => `"${text.replaceAll('"', '""')}"`;
  const lines = ["run,curve,step,value"];
  for (const curve of curves) for (const part of curve.parts) part.steps.forEach((step, i) => lines.push(`${quoted(part.run.name)},${quoted(curve.name)},${step},${part.values[i] ?? ""}`));
  const link = element("a", { href: URL.createObjectURL(new Blob([lines.join("\n") + "\n"], { type: "text/csv" })), download: "report.csv" });
  link.click();
  URL.revokeObjectURL(link.href);
}

// ---- The page ----

function setTheme(theme) {
  document.documentElement.dataset.theme = theme;
  byId("theme").textContent = theme === "dark" ? "Light theme" : "Dark theme";
}

const title = runs.length === 1 ? `Report of ${runs[0].name}` : `Report of ${counted(runs.length, "run")}`;
byId("title").textContent = title;
document.title = `Kudari: ${title}`;
setTheme(matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
showRuns();
showVerdicts();
for (const curve of drawn) charts.push(new Chart(curve));
drawCharts();
showLayers();
showRecipes();
showPictures();
const constants = new Map();
for (const run of runs) {
  for (const [name, value] of Object.entries(run.constants)) {
    const text = `${name} = ${short(value)}`;
    constants.set(text, [...(constants.get(text) ?? []), run.name]);
  }
}
const constantTexts = [...constants].slice(0, 30).map(([text, names]) => names.length === runs.length ? text : `${text} in ${names.join(", ")}`);
if (constants.size > 0) byId("constants").textContent = `Not drawn, because they never change: ${constantTexts.join("; ")}.`;
byId("footer").textContent = "Written by kudari report. The page needs no other file and asks for nothing on the network.";

byId("axis").append(...axes.map(([key, text]) => new Option(text, key)));
byId("marks").closest("label").hidden = findings.length === 0;
const redraw = () => { view.range = null; drawCharts(); };
byId("axis").addEventListener("change", () => { view.axis = byId("axis").value; redraw(); });
byId("log-x").addEventListener("change", () => { view.logX = byId("log-x").checked; redraw(); });
byId("smoothing").addEventListener("input", () => { view.smoothing = Number(byId("smoothing").value); byId("smoothed").textContent = byId("smoothing").value; drawCharts(); });
byId("marks").addEventListener("change", () => { view.marks = byId("marks").checked; drawCharts(); });
byId("in").addEventListener("click", () => zoomBy(.5));
byId("out").addEventListener("click", () => zoomBy(2));
byId("left").addEventListener("click", () => zoomBy(1, -.5));
byId("right").addEventListener("click", () => zoomBy(1, .5));
byId("all").addEventListener("click", () => zoomTo());
byId("csv").addEventListener("click", saveCsv);
byId("theme").addEventListener("click", () => { setTheme(document.documentElement.dataset.theme === "dark" ? "light" : "dark"); drawCharts(); showLayers.draw?.(); });
let width = innerWidth;
addEventListener("resize", () => {
  if (innerWidth === width) return;
  width = innerWidth;
  for (const chart of charts) chart.plot.setSize({ width: chart.box.clientWidth, height: 260 });
  showLayers.draw?.();
});
