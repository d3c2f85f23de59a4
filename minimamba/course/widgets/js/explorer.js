// The frame of every explorer: its controls, its picture and its caption.
//
// Of the model only get, set, on and save_changes are used, so that a page without a kernel can
// bring a model of its own.

import { html, svg } from "./elements.js";
import { STYLE } from "./style.js";

/**
 * Put controls, a picture and an empty caption into `el`; returns the caption's element.
 *
 * Between the controls and the picture stands the message with which Python refused a setting.
 */
export function frame({ model, el }, name, controls, picture) {
  const caption = html("p", { class: "caption", "aria-live": "polite" });
  const message = html("p", { class: "message", role: "alert" });
  const showMessage = () => { message.textContent = model.get("message") ?? ""; };
  model.on("change:message", showMessage);
  showMessage();
  el.append(html("div", { class: `minimamba-explorer minimamba-${name}-explorer` },
    html("style", {}, STYLE), ...controls, message, picture, caption));
  return caption;
}

/**
 * An explorer that the browser draws, again after every change of one of `traits`.
 *
 * `draw(canvas)` fills the SVG element and returns the caption. What has too many parts for SVG, it
 * paints on `bitmaps`, canvas elements that lie behind. Returns the SVG element.
 */
export function explorer({ model, el }, name, { traits, controls, width, height, draw,
                                                bitmaps = [] }) {
  const canvas = svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img" });
  const picture = html("div", { class: "picture" }, ...bitmaps, canvas);
  const caption = frame({ model, el }, name, controls, picture);
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
