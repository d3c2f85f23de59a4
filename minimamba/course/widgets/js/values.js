// Values read off a drawing: of what the pointer is over, of what was tapped, or of what the arrow keys have reached.

import { html, svg } from "./elements.js";

const areas = new WeakMap();

/** Forget the values of a drawing, which is about to be drawn again. */
export function forgetValues(canvas) {
  areas.set(canvas, []);
}

/**
 * Let values be read off a part of a drawing, `box`.
 *
 * There are `count` of them, in rows of `columns`; `at(i)` is the point on the canvas where one
 * stands, `text(i)` is what it says, in lines, and `also(i)` are shapes to draw with it. The words
 * are above or below the point, or at `height` where they would hide what they speak of.
 */
export function addValues(canvas, { box, count, columns = count, at, text, also = () => [],
                                    height }) {
  areas.get(canvas)?.push({ box, count, columns, at, text, also, height });
}

/**
 * The element that has the focus while values are read by keyboard, a slider for screen readers.
 * Returns it with `refresh`, to be called after the canvas has been drawn again.
 */
export function valueReader(canvas) {
  const element = html("div", { class: "reader", tabindex: 0, role: "slider",
    "aria-label": "values in the drawing", "aria-valuemin": 0, "aria-valuenow": 0,
    "data-lm-suppress-shortcuts": "true" });
  let index = 0;
  let visible = false;
  let bubble = null;

  const all = () => areas.get(canvas) ?? [];
  const count = () => all().reduce((sum, area) => sum + area.count, 0);

  function show() {
    bubble?.remove();
    index = Math.max(0, Math.min(count() - 1, index));
    element.hidden = count() === 0;
    element.setAttribute("aria-valuemax", Math.max(0, count() - 1));
    if (!visible || element.hidden) return;
    const [area, i] = locate(all(), index);
    bubble = drawBubble(canvas, area.at(i), area.text(i), area.also(i), area.height);
    element.setAttribute("aria-valuenow", index);
    element.setAttribute("aria-valuetext", area.text(i).replaceAll("\n", "; "));
  }

  function set(isVisible, newIndex = index) {
    [visible, index] = [isVisible, newIndex];
    show();
  }

  element.addEventListener("focus", () => set(true));
  element.addEventListener("blur", () => set(false));
  element.addEventListener("keydown", (event) => {
    const step = stepOf(event.key, locate(all(), index)?.[0].columns, count());
    if (step === undefined) return;
    event.preventDefault();
    set(true, index + step);
  });
  const read = (event) => {
    const found = nearest(canvas, all(), event);
    set(found !== null || document.activeElement === element, found ?? index);
  };
  canvas.addEventListener("pointermove", read);
  canvas.addEventListener("click", read);    // a tap, after which the finger has left
  canvas.addEventListener("pointerleave", () => set(document.activeElement === element));
  return { element, refresh: show };
}

/** How far a key moves: along a row, to the next row or part of the drawing, or to an end. */
const stepOf = (key, columns, count) => ({ ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns,
  ArrowDown: columns, Home: -count, End: count })[key];

/** The part of the drawing that has the value of an index, and the value's number in it. */
function locate(parts, index) {
  let i = index;
  for (const area of parts) {
    if (i < area.count) return [area, i];
    i -= area.count;
  }
  return null;
}

/** The index of the value that is nearest to a pointer; null if it is over none of the parts. */
function nearest(canvas, parts, event) {
  const frame = canvas.getBoundingClientRect();
  const scale = canvas.viewBox.baseVal.width / frame.width;
  const [x, y] = [(event.clientX - frame.left) * scale, (event.clientY - frame.top) * scale];
  let first = 0;
  for (const { box, count, at } of parts) {
    if (x >= box.left && x <= box.left + box.width && y >= box.top && y <= box.top + box.height) {
      let best = 0;
      let least = Infinity;
      for (let i = 0; i < count; i++) {
        const [px, py] = at(i);
        const distance = (px - x) ** 2 + (py - y) ** 2;
        if (distance < least) [best, least] = [i, distance];
      }
      return first + best;
    }
    first += count;
  }
  return null;
}

/** A point with its value in words, which stays within the drawing. */
function drawBubble(canvas, [x, y], text, shapes, height = y > 36 ? y - 34 : y + 10) {
  const lines = text.split("\n").map((line) => svg("text", { "text-anchor": "middle" }, line));
  const group = svg("g", { class: "reading" }, ...shapes,
    svg("circle", { class: "area ink", cx: x, cy: y, r: 4 }));
  canvas.append(group);
  group.append(...lines);
  const room = canvas.viewBox.baseVal.width;
  const width = Math.max(...lines.map((line) => line.getComputedTextLength())) + 14;
  const left = Math.max(1, Math.min(room - width - 1, x - width / 2));
  lines.forEach((line, i) => {
    line.setAttribute("x", left + width / 2);
    line.setAttribute("y", height + 16 * (i + 1));
  });
  group.insertBefore(svg("rect", { x: left, y: height, width, height: 8 + 16 * lines.length, rx: 4 }),
    lines[0]);
  return group;
}
