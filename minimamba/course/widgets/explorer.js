// What the explorers share in the browser: their look, controls, plots and words.
// An explorer's own file is joined behind this one (minimamba.widgets.module): a widget is one
// ES module. Of the model only get, set, on and save_changes are used, so that a page without a
// kernel can bring its own.

// One colour for light pages and one for dark; which page it is, JupyterLab, VS Code or the site
// say by an attribute, else the system's setting counts.
const STYLE = `
.minimamba-explorer {
  color-scheme: light dark;
  --ground: light-dark(#ffffff, #15181c); --ink: light-dark(#222222, #e6e6e6);
  --soft: light-dark(#5a5a5a, #b4b4b4); --grid: light-dark(#dddddd, #3a3f45);
  --blue: light-dark(#0072b2, #56b4e9); --red: light-dark(#d55e00, #ff8a3d);
  --green: light-dark(#009e73, #2fc79a); --sky: light-dark(#bfe3f8, #1f4d68);
  --purple: light-dark(#a8527f, #e09cc2); --grey: light-dark(#888888, #8d9299);
  box-sizing: border-box; max-width: 920px; padding: 10px; border-radius: 6px;
  background: var(--ground); color: var(--ink);
  font: 14px/1.4 var(--jp-ui-font-family, system-ui, sans-serif);
}
[data-jp-theme-light="true"] .minimamba-explorer, .vscode-light .minimamba-explorer,
.vscode-high-contrast-light .minimamba-explorer,
[data-theme="light"] .minimamba-explorer { color-scheme: light; }
[data-jp-theme-light="false"] .minimamba-explorer, .vscode-dark .minimamba-explorer,
.vscode-high-contrast:not(.vscode-high-contrast-light) .minimamba-explorer,
[data-theme="dark"] .minimamba-explorer { color-scheme: dark; }
@media print { .minimamba-explorer { color-scheme: light !important; } }
.minimamba-explorer .row {
  display: grid; grid-template-columns: 11.5em minmax(8em, 26em) 7em; gap: 0 0.8em;
  align-items: center; min-height: 1.9em; margin: 0; padding: 0; border: 0;
}
.minimamba-explorer input[type=range] { width: 100%; margin: 0; accent-color: var(--blue); }
.minimamba-explorer :is(input[type=text], textarea) {
  width: 100%; box-sizing: border-box; font: 14px/1.4 ui-monospace, monospace;
}
.minimamba-explorer textarea { display: block; margin: 2px 0; resize: vertical; }
.minimamba-explorer output { font-variant-numeric: tabular-nums; }
.minimamba-explorer .choices { display: flex; flex-wrap: wrap; gap: 0 1.2em; grid-column: 2 / 4; }
.minimamba-explorer .choices label { display: flex; align-items: center; gap: 0.35em; }
.minimamba-explorer input[type=radio] { margin: 0; accent-color: var(--blue); }
.minimamba-explorer :is(input, textarea):focus-visible {
  outline: 2px solid var(--blue); outline-offset: 3px;
}
.minimamba-explorer svg { display: block; width: 100%; height: auto; position: relative; }
.minimamba-explorer .picture { position: relative; margin-top: 6px; }
.minimamba-explorer .picture canvas { position: absolute; }
.minimamba-explorer img { display: block; max-width: 100%; height: auto; margin-top: 6px; }
.minimamba-explorer text { fill: var(--ink); font-size: 12.5px; }
.minimamba-explorer text.tick { fill: var(--soft); font-size: 11.5px; }
.minimamba-explorer .axis { stroke: var(--ink); fill: none; }
.minimamba-explorer .grid { stroke: var(--grid); fill: none; }
.minimamba-explorer .line { stroke: var(--colour); stroke-width: 1.8; fill: none; }
.minimamba-explorer .area { fill: var(--colour); }
.minimamba-explorer .blue { --colour: var(--blue); }
.minimamba-explorer .red { --colour: var(--red); }
.minimamba-explorer .green { --colour: var(--green); }
.minimamba-explorer .sky { --colour: var(--sky); }
.minimamba-explorer .purple { --colour: var(--purple); }
.minimamba-explorer .grey { --colour: var(--grey); }
.minimamba-explorer .ink { --colour: var(--ink); }
.minimamba-explorer .hand { fill: transparent; cursor: crosshair; touch-action: none; }
.minimamba-explorer .caption { margin: 6px 0 0; }
@media (max-width: 520px) {
  .minimamba-explorer .row { grid-template-columns: 1fr auto; }
  .minimamba-explorer .row > :first-child, .minimamba-explorer .choices { grid-column: 1 / 3; }
}`;

function html(tag, attributes = {}, ...children) {
  return filled(document.createElement(tag), attributes, children);
}

function svg(tag, attributes = {}, ...children) {
  return filled(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
}

function filled(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

/** A control that keeps its keys: JupyterLab would take the arrows to move among cells. */
function control(attributes, tag = "input") {
  return html(tag, { "data-lm-suppress-shortcuts": "true", ...attributes });
}

let made = 0;  // names that are used once in a page
const own = (name) => `minimamba-${name}-${Date.now().toString(36)}-${made++}`;

/** A number as Python's format(x, ".3g") writes it, for digits = 3. */
export function general(x, digits) {
  if (x === 0 || !Number.isFinite(x)) return String(x);
  const [mantissa, exponent] = x.toExponential(digits - 1).split("e");
  const short = (text) => (text.includes(".") ? text.replace(/\.?0+$/, "") : text);
  const power = Number(exponent);
  if (power >= -4 && power < digits) return short(x.toFixed(digits - 1 - power));
  return `${short(mantissa)}e${power < 0 ? "-" : "+"}${String(Math.abs(power)).padStart(2, "0")}`;
}

/** What the reader sets: the model is told, and its listeners draw. */
function tell(model, values) {
  for (const [name, value] of Object.entries(values)) model.set(name, value);
  model.save_changes();
}

/** A slider with its label and what it says; `told` makes the values to set from its own. */
function slider(model, name, { label, min, max, step, log = false, read = String,
                               told = (value) => ({ [name]: value }) }) {
  const input = control({ type: "range", id: own(name), min, max, step });
  const output = html("output", { for: input.id });
  const show = () => {
    const value = model.get(name);
    input.value = log ? Math.log10(value) : value;
    output.textContent = read(value);
    input.setAttribute("aria-valuetext", output.textContent);
  };
  input.addEventListener("input", () => {
    const place = Number(input.value);
    // Python's numbers are kept short: 10 ** −1.95 has no end.
    tell(model, told(log ? Number((10 ** place).toPrecision(6)) : place));
  });
  model.on(`change:${name}`, show);
  show();
  return html("div", { class: "row" }, html("label", { for: input.id }, label), input, output);
}

/** A few words to choose from: the arrow keys move among them. */
function choices(model, name, { label, options, read = String,
                                told = (value) => ({ [name]: value }) }) {
  const group = own(name);
  const inputs = options.map((option) => {
    const input = control({ type: "radio", name: group, value: option });
    input.addEventListener("change", () => tell(model, told(option)));
    return input;
  });
  const show = () => {
    for (const input of inputs) input.checked = input.value === String(model.get(name));
  };
  model.on(`change:${name}`, show);
  show();
  const words = html("span", { id: own("label") }, label);
  return html("div", { class: "row", role: "radiogroup", "aria-labelledby": words.id }, words,
    html("div", { class: "choices" }, ...inputs.map((input) => html("label", {}, input,
      read(input.value)))));
}

/**
 * A field of one row or more to type in. What `clean` leaves out of it goes from the field itself
 * only once it is left, so that nothing is moved under the hand.
 */
function typed(model, name, { label, rows = 1, clean, read,
                              told = (value) => ({ [name]: value }) }) {
  const plain = { id: own(name), spellcheck: "false", autocomplete: "off", autocapitalize: "off" };
  const input = rows > 1 ? control({ ...plain, rows }, "textarea")
    : control({ ...plain, type: "text" });
  // JupyterLab would take the ends of lines away.
  input.addEventListener("keydown", (event) => event.key === "Enter" && event.stopPropagation());
  input.addEventListener("input", () => tell(model, told(clean(input.value))));
  input.addEventListener("change", () => { input.value = model.get(name); });
  model.on(`change:${name}`, () => {
    if (clean(input.value) !== model.get(name)) input.value = model.get(name);
  });
  input.value = model.get(name);
  return html("div", { class: "row" }, html("label", { for: input.id }, label), input,
    html("output", { for: input.id }, read));
}

/** Controls, a picture and its words, in their place; gives the element of the words back. */
function face(el, name, controls, picture) {
  const caption = html("p", { class: "caption", "aria-live": "polite" });
  el.append(html("div", { class: `minimamba-explorer minimamba-${name}-explorer` },
    html("style", {}, STYLE), ...controls, picture, caption));
  return caption;
}

/**
 * The explorer in its place where the browser draws it: controls, a drawing and its words, anew
 * with each of the traits. `draw(canvas)` fills the svg element and gives the words back; what has
 * too many parts for that, it draws on the bitmaps, canvas elements that lie behind.
 */
function explorer({ model, el }, name, { traits, controls, width, height, draw, bitmaps = [] }) {
  const canvas = svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img" });
  const caption = face(el, name, controls, html("div", { class: "picture" }, ...bitmaps, canvas));
  const redraw = () => {
    canvas.replaceChildren();
    caption.textContent = draw(canvas);
    canvas.setAttribute("aria-label", caption.textContent);
  };
  for (const trait of traits) model.on(`change:${trait}`, redraw);
  redraw();
  return canvas;
}

/**
 * A hand on the drawing. `hold(x, y)` says what a press there, in the canvas's own units, takes
 * hold of: a function that is told of each place until the hand lets go, or null.
 */
function drag(canvas, hold) {
  let held = null;
  const place = (event) => {
    const frame = canvas.getBoundingClientRect();
    const scale = canvas.viewBox.baseVal.width / frame.width;
    return [(event.clientX - frame.left) * scale, (event.clientY - frame.top) * scale];
  };
  canvas.addEventListener("pointerdown", (event) => {
    held = hold(...place(event));
    if (!held) return;
    held(...place(event));
    canvas.setPointerCapture(event.pointerId);
    event.preventDefault();
  });
  canvas.addEventListener("pointermove", (event) => held?.(...place(event)));
  for (const end of ["pointerup", "pointercancel"]) {
    canvas.addEventListener(end, () => { held = null; });
  }
}

/** Round numbers within two limits, about `count` of them. */
function ticks([low, high], count) {
  const raw = (high - low) / count;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = power * [1, 2, 5, 10].find((nice) => nice * power >= raw * 0.999);
  const first = Math.ceil(low / step - 1e-9);
  const last = Math.floor(high / step + 1e-9);
  return Array.from({ length: last - first + 1 }, (_, i) => Number(((first + i) * step)
    .toPrecision(12)));
}

function decades([low, high]) {
  const first = Math.ceil(Math.log10(low) - 1e-9);
  const count = Math.floor(Math.log10(high) + 1e-9) - first + 1;
  return Array.from({ length: count }, (_, i) => 10 ** (first + i));
}

const SUPERSCRIPTS = "⁰¹²³⁴⁵⁶⁷⁸⁹";

function tickWords(value, log) {
  if (!log) return String(value).replace("-", "−");
  const power = Math.round(Math.log10(value));
  return `10${power < 0 ? "⁻" : ""}${[...String(Math.abs(power))].map((d) => SUPERSCRIPTS[d])
    .join("")}`;
}

/**
 * Axes with ticks and labels on the canvas. What is drawn with `add` is cut off at their ends;
 * X and Y go from numbers to places on the canvas.
 */
function axes(canvas, { left, top, width, height, xlim, ylim, title = "", xlabel = "", ylabel = "",
                        xlog = false, ylog = false, xticks, yticks }) {
  const along = ([low, high], log, start, size) => {
    const f = log ? Math.log10 : (v) => v;
    return (v) => start + (size * (f(v) - f(low))) / (f(high) - f(low));
  };
  const X = along(xlim, xlog, left, width);
  const Y = along(ylim, ylog, top + height, -height);
  const bottom = top + height;
  for (const value of xticks ?? (xlog ? decades(xlim) : ticks(xlim, width / 70))) {
    canvas.append(svg("path", { class: "grid", d: `M${X(value)} ${top}V${bottom}` }),
      words(X(value), bottom + 15, tickWords(value, xlog), { class: "tick" }));
  }
  for (const value of yticks ?? (ylog ? decades(ylim) : ticks(ylim, height / 35))) {
    canvas.append(svg("path", { class: "grid", d: `M${left} ${Y(value)}H${left + width}` }),
      words(left - 6, Y(value) + 4, tickWords(value, ylog), { class: "tick", anchor: "end" }));
  }
  const middle = top + height / 2;
  canvas.append(svg("path", { class: "axis", d: `M${left} ${top}V${bottom}H${left + width}` }),
    words(left + width / 2, top - 8, title), words(left + width / 2, bottom + 32, xlabel));
  if (ylabel) {
    const label = words(0, 0, ylabel);
    label.setAttribute("transform", `translate(${left - 38} ${middle}) rotate(-90)`);
    canvas.append(label);
  }
  const clip = own("clip");
  const inside = svg("g", { "clip-path": `url(#${clip})` });
  canvas.append(svg("clipPath", { id: clip }, svg("rect", {
    x: left - 1, y: top - 1, width: width + 2, height: height + 2 })), inside);
  const add = (...shapes) => inside.append(...shapes);
  const line = (xs, ys, look) => add(svg("path", { class: `line ${look}`,
    d: path(Array.from(xs, X), Array.from(ys, Y)) }));
  return { X, Y, add, line, left, top, width, height, bottom };
}

function words(x, y, text, { class: look = "", anchor = "middle" } = {}) {
  return svg("text", { x, y, class: look, "text-anchor": anchor }, text);
}

/** A path through points in order of x; of those within one unit of x, the outermost. */
function path(xs, ys) {
  const kept = [];
  for (let i = 0; i < xs.length;) {
    const column = Math.floor(xs[i]);
    let [low, high] = [i, i];
    const first = i;
    for (; i < xs.length && Math.floor(xs[i]) === column; i++) {
      if (ys[i] < ys[low]) low = i;
      if (ys[i] > ys[high]) high = i;
    }
    kept.push(...new Set([first, low, high, i - 1].sort((a, b) => a - b)));
  }
  return `M${kept.map((i) => `${xs[i].toFixed(1)} ${ys[i].toFixed(1)}`).join("L")}`;
}
