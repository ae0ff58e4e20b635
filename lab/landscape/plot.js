// What the pages about landscapes share: the map with its paths, the curves of the losses, and the
// controls that play the steps. `data` is what page_data.h has of a surface, with its grid; a run has x,
// y and loss for each step, a colour, dashes, whether it is shown and, if it has other weights to
// evaluate, `evaluated` with their x, y and loss, which are drawn as thin lines.

const byId = name => document.getElementById(name);
const finite = value => value !== null && Number.isFinite(value);
const short = value => finite(value) ? Number(value.toPrecision(4)).toString().replace("-", "\u2212") : "not finite";
const raised = power => [...String(power)].map(digit => digit === "-" ? "\u207b" : "\u2070\u00b9\u00b2\u00b3\u2074\u2075\u2076\u2077\u2078\u2079"[digit]).join("");
const powerText = value => { const power = Math.round(Math.log10(value)); return Math.abs(power) < 4 ? short(value) : "10" + raised(power); };
const dashesOf = style => style.dashes ? style.dashes.split(" ").map(Number) : [];

// A place of the canvas for a value of the axis, linear or logarithmic.
function scale(low, high, from, to, logarithmic) {
  const of = logarithmic ? Math.log : value => value;
  return value => from + (of(value) - of(low)) / (of(high) - of(low)) * (to - from);
}

// Round numbers between low and high: steps of 1, 2 or 5 times a power of ten, or powers of ten.
function ticks(low, high, logarithmic, most) {
  const found = [];
  if (logarithmic) {
    const every = Math.max(1, Math.ceil((Math.log10(high) - Math.log10(low)) / most));
    for (let power = Math.ceil(Math.log10(low)); power <= Math.log10(high); power += every) found.push(10 ** power);
    return found;
  }
  const rough = (high - low) / most, power = 10 ** Math.floor(Math.log10(rough));
  const size = power * [1, 2, 5, 10].find(factor => factor * power >= rough);
  for (let k = Math.ceil(low / size); k * size <= high; ++k) found.push(k * size);
  return found;
}

// A canvas to draw on in the page's pixels, empty, and as sharp as the screen.
function cleared(canvas) {
  const width = canvas.clientWidth, height = canvas.clientHeight, ratio = window.devicePixelRatio;
  canvas.width = Math.round(width * ratio);
  canvas.height = Math.round(height * ratio);
  const g = canvas.getContext("2d");
  g.setTransform(ratio, 0, 0, ratio, 0, 0);
  g.font = "13px sans-serif";
  return { g, frame: { left: 50, right: width - 10, top: 26, bottom: height - 44 } };
}

function axes(g, frame, x, y, xTicks, yTicks, xName, yName, yText = short) {
  g.lineWidth = 1;
  g.strokeStyle = "#ddd";
  const across = at => g.strokeRect(frame.left, Math.round(at) + .5, frame.right - frame.left, 0);
  for (const tick of yTicks) across(y(tick));
  g.strokeStyle = "#888";
  across(frame.bottom);
  g.fillStyle = "#333";
  g.textAlign = "center";
  for (const tick of xTicks) g.fillText(short(tick), Math.min(x(tick), frame.right - g.measureText(short(tick)).width / 2 + 8), frame.bottom + 18);
  g.fillText(xName, (frame.left + frame.right) / 2, frame.bottom + 37);
  g.textAlign = "right";
  for (const tick of yTicks) g.fillText(yText(tick), frame.left - 6, y(tick) + 4);
  g.textAlign = "left";
  g.fillText(yName, 4, 14);
}

function line(g, run, points, thin = false) {
  const draw = (colour, width) => {
    g.strokeStyle = colour;
    g.lineWidth = width;
    g.beginPath();
    points.forEach(([px, py], i) => i ? g.lineTo(px, py) : g.moveTo(px, py));
    g.stroke();
  };
  g.lineJoin = "round";
  g.setLineDash([]);
  draw("#fff", thin ? 2.8 : 4.5);
  g.setLineDash(dashesOf(run));
  draw(run.colour, thin ? 1.1 : 2.2);
  g.setLineDash([]);
}

// Fills the present path, with an outline.
function outlined(g, fill, outline) {
  g.fillStyle = fill;
  g.fill();
  g.lineWidth = 1.5;
  g.strokeStyle = outline;
  g.stroke();
}

function dot(g, run, [px, py], thin = false) {
  g.beginPath();
  g.arc(px, py, thin ? 3.5 : 5, 0, 2 * Math.PI);
  outlined(g, thin ? "#fff" : run.colour, thin ? run.colour : "#fff");
}

// Draws the runs, and thin over them what they have to evaluate; pointsOf(path) are the points of one.
function lines(g, runs, pointsOf) {
  for (const thin of [false, true]) {
    for (const run of runs) {
      const path = thin ? run.evaluated : run, points = path ? pointsOf(path) : [];
      if (points.length) { line(g, run, points, thin); dot(g, run, points[points.length - 1], thin); }
    }
  }
}

function star(g, px, py) {
  g.beginPath();
  for (let i = 0; i < 10; ++i) {
    const radius = i % 2 ? 3.5 : 8.5, angle = Math.PI * (i / 5 - .5);
    g.lineTo(px + radius * Math.cos(angle), py + radius * Math.sin(angle));
  }
  g.closePath();
  outlined(g, "#fff", "#000");
}

// Calls draw with nothing showing outside of the frame.
function inside(g, frame, draw) {
  g.save();
  g.beginPath();
  g.rect(frame.left, frame.top, frame.right - frame.left, frame.bottom - frame.top);
  g.clip();
  draw();
  g.restore();
}

// The bands of a grid as a picture with a pixel for each cell, the first row below.
function pictureOf(grid) {
  const picture = document.createElement("canvas");
  picture.width = grid.columns;
  picture.height = grid.rows;
  const g = picture.getContext("2d");
  for (let i = 0; i < grid.bands.length; ++i) {
    g.fillStyle = grid.colours[grid.bands[i]];
    g.fillRect(i % grid.columns, grid.rows - 1 - Math.floor(i / grid.columns), 1, 1);
  }
  return picture;
}

// The last step of a run that is drawn: of one that ends outside of the picture, the step that leaves it.
function lastDrawn(data, run) {
  const isInside = at => [run.x[at], run.y[at]].every((value, k) => finite(value) && value >= data.low[k] && value <= data.high[k]);
  let last = run.x.length - 1;
  if (isInside(last)) return last;
  while (last > 0 && !isInside(last - 1)) --last;
  return last;
}

// Draws the map with the paths up to a step; returns the frame and its scales.
function drawMap(canvas, data, runs, step) {
  const { g, frame } = cleared(canvas);
  const x = scale(data.low[0], data.high[0], frame.left, frame.right);
  const y = scale(data.low[1], data.high[1], frame.bottom, frame.top);
  axes(g, frame, x, y, ticks(data.low[0], data.high[0], false, 8), ticks(data.low[1], data.high[1], false, 6), "x", "y");
  data.picture ??= pictureOf(data.grid);
  g.drawImage(data.picture, frame.left, frame.top, frame.right - frame.left, frame.bottom - frame.top);
  for (const [px, py] of data.minima) star(g, x(px), y(py));
  inside(g, frame, () => {
    lines(g, runs, path => {
      const places = [];
      for (let i = 0; i <= Math.min(step, lastDrawn(data, path)); ++i) {
        if (finite(path.x[i]) && finite(path.y[i])) places.push([x(path.x[i]), y(path.y[i])]);
      }
      return places;
    });
  });
  return { ...frame, x, y };
}

// Draws the loss of each step above the lowest, up to a step of `last`.
function drawCurves(canvas, data, runs, step, last) {
  const { g, frame } = cleared(canvas);
  const height = value => finite(value) && value > data.lowest ? value - data.lowest : NaN;
  const most = 10 * Math.max(...runs.map(run => run.loss[0] - data.lowest), 1e-12);
  const heights = runs.flatMap(run => [...run.loss, ...(run.evaluated?.loss ?? [])].map(height)).filter(finite);
  const least = Math.max(heights.reduce((a, b) => Math.min(a, b), most / 10), most * 1e-12);
  const x = scale(0, Math.max(last, 1), frame.left, frame.right - 6), y = scale(least, most, frame.bottom, frame.top, true);
  axes(g, frame, x, y, ticks(0, Math.max(last, 1), false, 5), ticks(least, most, true, 8), "step", data.lowest === 0 ? "loss" : "loss above the lowest", powerText);
  inside(g, frame, () => {
    lines(g, runs, path => {
      const points = [];
      for (let i = 0; i <= Math.min(step, path.loss.length - 1); ++i) {
        if (finite(height(path.loss[i]))) points.push([x(i), y(Math.max(height(path.loss[i]), least))]);
      }
      return points;
    });
  });
}

// What stands for a run in lists.
function swatchOf(run) {
  const swatch = document.createElement("span"), dashes = dashesOf(run);
  swatch.className = "swatch";
  swatch.style.background = dashes.length ? `repeating-linear-gradient(90deg, ${run.colour} 0 ${dashes[0]}px, #fff ${dashes[0]}px ${dashes[0] + dashes[1]}px)` : run.colour;
  return swatch;
}

// The controls that play the steps: the elements play, step, shown and speed, the space bar and the
// arrow keys. Calls draw(step), where the step has a fraction while it plays.
class Player {
  step = 0;
  last = 0;
  #draw;
  #playing = false;
  #before = 0;

  constructor(draw) {
    this.#draw = draw;
    byId("step").addEventListener("input", event => this.show(Number(event.target.value)));
    byId("play").addEventListener("click", () => this.toggle());
    document.addEventListener("keydown", event => {
      if (event.target !== document.body) return;
      if (event.key === " ") { event.preventDefault(); this.toggle(); }
      if (event.key === "ArrowRight") this.show(this.step + 1);
      if (event.key === "ArrowLeft") this.show(this.step - 1);
    });
    new ResizeObserver(() => this.#refresh()).observe(document.body);
  }
  // Stops at a step.
  show(step) {
    this.#playing = false;
    this.step = Math.round(Math.min(this.last, Math.max(0, step)));
    this.#refresh();
  }
  // Plays from the beginning if it is at the end; or stops.
  toggle() {
    if (this.#playing) { this.show(this.step); return; }
    if (this.step >= this.last) this.step = 0;
    this.#playing = true;
    this.#before = performance.now();
    this.#refresh();
    requestAnimationFrame(now => this.#play(now));
  }
  #play(now) {
    if (!this.#playing) return;
    this.step = Math.min(this.last, this.step + Math.min(now - this.#before, 200) / 1000 * Number(byId("speed").value));
    this.#before = now;
    if (this.step >= this.last) { this.show(this.last); return; }
    this.#refresh();
    requestAnimationFrame(later => this.#play(later));
  }
  #refresh() {
    byId("play").textContent = this.#playing ? "Pause" : "Play";
    byId("step").max = this.last;
    byId("step").value = this.step;
    byId("shown").textContent = `${Math.round(this.step)} of ${this.last}`;
    this.#draw(this.step);
  }
}
