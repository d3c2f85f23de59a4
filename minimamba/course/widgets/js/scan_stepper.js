// Walk through a parallel scan one level at a time.

import { axes, label } from "./axes.js";
import { choices, slider } from "./controls.js";
import { svg } from "./elements.js";
import { explorer } from "./explorer.js";
import { addValues } from "./values.js";

const range = (first, end, step = 1) => Array.from(
  { length: Math.max(0, Math.ceil((end - first) / step)) }, (_, i) => first + i * step);

/** The orders of minimamba.scan.associative: levels of combine operations, (source, target). */
export const ORDERS = {
  sequential: (length) => range(1, length).map((target) => [[target - 1, target]]),
  "Hillis-Steele": (length) => {
    const levels = [];
    for (let reach = 1; reach < length; reach *= 2) {
      levels.push(range(reach, length).map((target) => [target - reach, target]));
    }
    return levels;
  },
  Blelloch: (length) => {
    const levels = [];
    let half = 1;
    for (; half < length; half *= 2) {
      levels.push(range(2 * half - 1, length, 2 * half).map((target) => [target - half, target]));
    }
    while (half > 1) {
      half /= 2;
      levels.push(range(3 * half - 1, length, 2 * half).map((target) => [target - half, target]));
    }
    return levels.filter((level) => level.length);
  },
};

/** Before the first level and after each: the first and last step that each position combines. */
export function covered(length, levels) {
  const rows = [range(0, length).map((position) => [position, position])];
  for (const level of levels) {
    const before = rows[rows.length - 1];
    const after = [...before];
    for (const [source, target] of level) after[target] = [before[source][0], before[target][1]];
    rows.push(after);
  }
  return rows;
}

export function caption(order, length, level) {
  const levels = ORDERS[order](length);
  const work = (some) => some.reduce((sum, combines) => sum + combines.length, 0);
  const complete = covered(length, levels)[level].filter(([first]) => first === 0).length;
  return `${order}, level ${level} of ${levels.length}: ${work(levels.slice(0, level))} of `
    + `${work(levels)} combine operations done, ${complete} of ${length} states complete.`;
}

const CELL = { narrow: 27, wide: 46 };

function draw(canvas, room, order, length, level) {
  const levels = ORDERS[order](length);
  const rows = covered(length, levels);
  const least = length > 9 ? CELL.wide : CELL.narrow;
  const width = Math.max(room, 54 + least * (length + 0.2));
  canvas.setAttribute("viewBox", `0 0 ${width} ${55 + 56 * rows.length}`);
  const { X, Y, add } = axes(canvas, { left: 46, top: 12, width: width - 54,
    height: 56 * rows.length, xlim: [-0.6, length - 0.4], ylim: [rows.length - 0.5, -0.5],
    xticks: [], yticks: [], xlabel: "step", ylabel: "level" });
  rows.forEach((_, row) => canvas.append(
    label(40, Y(row) + 4, row, { class: "tick", anchor: "end" })));
  range(0, length).forEach((position) => canvas.append(
    label(X(position), Y(rows.length - 0.5) + 15, position + 1, { class: "tick" })));
  const cell = X(1) - X(0);
  rows.slice(0, level + 1).forEach((positions, row) => {
    const combines = row ? levels[row - 1] : [];
    const targets = new Set(combines.map(([, target]) => target));
    for (const [source, target] of combines) {
      add(arrow(X(target), Y(row - 0.75), X(target), Y(row - 0.26), "grey"),
        arrow(X(source), Y(row - 0.75), X(target), Y(row - 0.26), "red"));
    }
    positions.forEach((steps, position) => add(box(X(position), Y(row), 0.4 * cell, steps,
      targets.has(position))));
  });
  addValues(canvas, {
    box: { left: X(-0.6), top: Y(-0.5), width: width - 54, height: 56 * (level + 1) },
    count: length * (level + 1), columns: length,
    at: (i) => [X(i % length), Y(Math.floor(i / length)) + 10],
    text: (i) => describe(i % length, rows[Math.floor(i / length)][i % length]) });
  return caption(order, length, level);
}

/** What a position has combined, in words. */
function describe(position, [first, last]) {
  const steps = first === last ? `step ${first + 1}` : `steps ${first + 1} to ${last + 1}`;
  return `position ${position + 1}: ${steps}${first === 0 ? ", complete" : ""}`;
}

/** A position; if it combines all steps up to its own, it is filled, and ticked where it fits. */
function box(x, y, half, [first, last], combined) {
  const complete = first === 0;
  const name = first === last ? `${first + 1}` : `${first + 1}–${last + 1}`;
  const text = label(x, y + 4, name + (complete && half > 22 ? " ✓" : ""),
    { class: half < 16 ? "small" : "" });
  text.style.fontWeight = combined ? "bold" : "normal";
  return svg("g", { class: complete ? "position complete" : "position" }, svg("rect", {
    x: x - half, y: y - 13, width: 2 * half, height: 26, rx: 4, stroke: "var(--ink)",
    "stroke-width": complete ? 2 : 0.8, fill: complete ? "var(--sky)" : "var(--ground)" }), text);
}

function arrow(x1, y1, x2, y2, colour) {
  const angle = Math.atan2(y2 - y1, x2 - x1);
  const barb = (turn) => `${x2 - 8 * Math.cos(angle + turn)} ${y2 - 8 * Math.sin(angle + turn)}`;
  return svg("path", { class: `line ${colour} combine`,
    d: `M${x1} ${y1}L${x2} ${y2}M${barb(0.45)}L${x2} ${y2}L${barb(-0.45)}` });
}

export default {
  render({ model, el }) {
    const levelSlider = slider(model, "level", { label: "level", min: 0, max: 15, step: 1 });
    const depth = () => ORDERS[model.get("order")](model.get("length")).length;
    explorer({ model, el }, "scan", {
      traits: ["order", "length", "level"],
      task: {
        ask: "complete all states of 16 steps in 4 levels.",
        done: "49 combine operations in 4 levels; Blelloch needs 26, in 7 levels.",
        reached: () => model.get("length") === 16 && model.get("level") === 4
          && model.get("order") === "Hillis-Steele",
        presets: { "one by one": { level: 0, length: 8, order: "sequential" },
                   "few levels": { level: 0, length: 8, order: "Hillis-Steele" },
                   "little work": { level: 0, length: 8, order: "Blelloch" } },
      },
      controls: [
        // A new scan begins before its first level.
        choices(model, "order", { label: "order", options: Object.keys(ORDERS),
                                  update: (order) => ({ level: 0, order }) }),
        slider(model, "length", { label: "length", min: 2, max: 16, step: 1,
                                  update: (length) => ({ level: 0, length }) }),
        levelSlider,
      ],
      draw: (canvas, width) => {
        const input = levelSlider.querySelector("input");
        input.max = depth();
        // Python sets the level after the order: between the two it may be too high.
        const shown = Math.min(model.get("level"), depth());
        input.value = shown;
        return draw(canvas, width, model.get("order"), model.get("length"), shown);
      },
    });
  },
};
