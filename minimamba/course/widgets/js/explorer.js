// The frame of every explorer: its task, its controls, its picture and its caption.
//
// Of the model only get, set, on and save_changes are used, so that a page without a kernel can
// bring a model of its own.

import { html, svg } from "./elements.js";
import { STYLE } from "./style.js";
import { taskLine } from "./task.js";
import { forgetValues, valueReader } from "./values.js";

const QUIET = 700;
const WIDTH_UNTIL_ATTACHED = 900;

/**
 * Put an explorer into `el`; it is drawn again after every change of one of `traits`, and when it
 * has become wider or narrower. Returns the SVG element.
 *
 * `draw(canvas, width)` fills the SVG element and returns the caption. One unit of the canvas is a
 * pixel of the page, so that text has one size at every width. The canvas is as wide as there is
 * room, but at least `width`, and `height` units high; a drawing that needs another size sets the
 * viewBox. What is too wide scrolls. What has too many parts for SVG, `draw` paints on `bitmaps`,
 * canvas elements that lie behind. `settings` are what the buttons of the `task` set.
 */
export function explorer({ model, el }, name, { traits, settings = traits, controls, width = 0,
                                                height = 0, draw, bitmaps = [], task = null }) {
  const canvas = svg("svg", { role: "img" });
  const reader = valueReader(canvas);
  const picture = html("div", { class: "picture" },
    html("div", { class: "sheet" }, ...bitmaps, canvas, reader.element));
  const caption = html("p", { class: "caption" });
  const line = task && taskLine(model, settings, task);
  const say = announcer();
  let room = 0;
  const redraw = () => {
    room = picture.clientWidth;
    canvas.replaceChildren();
    forgetValues(canvas);
    canvas.setAttribute("viewBox",
      `0 0 ${Math.max(width, room || WIDTH_UNTIL_ATTACHED)} ${height}`);
    caption.textContent = draw(canvas, canvas.viewBox.baseVal.width);
    const { width: drawn, height: high } = canvas.viewBox.baseVal;
    canvas.setAttribute("width", drawn);
    canvas.setAttribute("height", high);
    canvas.setAttribute("aria-label", caption.textContent);
    reader.refresh();
    say.later([line?.update(), caption.textContent].filter(Boolean).join(" "));
  };
  el.append(html("div", { class: `minimamba-explorer minimamba-${name}-explorer` },
    html("style", {}, STYLE), ...(line ? [line.element] : []), ...controls, message(model),
    picture, ...(line ? [line.praise] : []), caption, say.element));
  for (const trait of traits) model.on(`change:${trait}`, redraw);
  redraw();
  new ResizeObserver(() => {
    if (picture.clientWidth && picture.clientWidth !== room) redraw();
  }).observe(picture);
  return canvas;
}

/** The message with which Python refused a setting. */
function message(model) {
  const element = html("p", { class: "message", role: "alert" });
  const show = () => { element.textContent = model.get("message") ?? ""; };
  model.on("change:message", show);
  show();
  return element;
}

/**
 * What a screen reader says about the drawing: once, when the reader's hand rests.
 *
 * The value of a control is announced by the control itself, at every key.
 */
function announcer() {
  const element = html("p", { class: "spoken", role: "status" });
  let [latest, timer] = [null, 0];
  const later = (text) => {
    const isFirst = latest === null;
    if (text === latest) return;
    latest = text;
    clearTimeout(timer);
    if (!isFirst) timer = setTimeout(() => { element.textContent = latest; }, QUIET);
  };
  return { element, later };
}

/**
 * Let a pointer drag on the drawing.
 *
 * `grab(x, y)`, in the canvas's own units, says what a press there takes hold of: a function that
 * is called with every position until the pointer is released, or null.
 */
export function drag(canvas, grab) {
  let move = null;
  const position = (event) => {
    const frameBox = canvas.getBoundingClientRect();
    const scale = canvas.viewBox.baseVal.width / frameBox.width;
    return [(event.clientX - frameBox.left) * scale, (event.clientY - frameBox.top) * scale];
  };
  canvas.addEventListener("pointerdown", (event) => {
    move = grab(...position(event));
    if (!move) return;
    move(...position(event));
    canvas.setPointerCapture(event.pointerId);
    event.preventDefault();
  });
  canvas.addEventListener("pointermove", (event) => move?.(...position(event)));
  for (const end of ["pointerup", "pointercancel"]) {
    canvas.addEventListener(end, () => { move = null; });
  }
}

/** A visible handle at what can be dragged; `arrows` says where to: "↔" or "✥". */
export function handle(x, y, arrows) {
  return svg("g", { class: "handle" }, svg("circle", { cx: x, cy: y, r: 10 }),
    svg("text", { x, y: y + 4.5, "text-anchor": "middle" }, arrows));
}
