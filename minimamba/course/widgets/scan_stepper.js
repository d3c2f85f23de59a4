// Walk through a parallel scan a level at a time.

const range = (first, end, step = 1) => Array.from(
  { length: Math.max(0, Math.ceil((end - first) / step)) }, (_, i) => first + i * step);

/** As minimamba.scan.associative has them: levels of joins, (source, target). */
export const ORDERS = {
  "one after the other": (length) => range(1, length).map((place) => [[place - 1, place]]),
  "Hillis-Steele": (length) => {
    const levels = [];
    for (let reach = 1; reach < length; reach *= 2) {
      levels.push(range(reach, length).map((place) => [place - reach, place]));
    }
    return levels;
  },
  Blelloch: (length) => {
    const levels = [];
    let half = 1;
    for (; half < length; half *= 2) {
      levels.push(range(2 * half - 1, length, 2 * half).map((last) => [last - half, last]));
    }
    while (half > 1) {
      half /= 2;
      levels.push(range(3 * half - 1, length, 2 * half).map((middle) => [middle - half, middle]));
    }
    return levels.filter((level) => level.length);
  },
};

/** Before the first level and after each: the first and last step that a place has joined. */
export function covered(length, levels) {
  const rows = [range(0, length).map((place) => [place, place])];
  for (const level of levels) {
    const before = rows[rows.length - 1];
    const now = [...before];
    for (const [source, target] of level) now[target] = [before[source][0], before[target][1]];
    rows.push(now);
  }
  return rows;
}

export function caption(order, length, level) {
  const levels = ORDERS[order](length);
  const work = (some) => some.reduce((sum, joins) => sum + joins.length, 0);
  const done = covered(length, levels)[level].filter(([first]) => first === 0).length;
  return `${order}, level ${level} of ${levels.length}: ${work(levels.slice(0, level))} of `
    + `${work(levels)} joins made, ${done} of ${length} states done.`;
}

function draw(canvas, order, length, level) {
  const levels = ORDERS[order](length);
  const rows = covered(length, levels);
  canvas.setAttribute("viewBox", `0 0 900 ${55 + 56 * rows.length}`);
  const { X, Y, add } = axes(canvas, { left: 55, top: 12, width: 835, height: 56 * rows.length,
    xlim: [-0.6, length - 0.4], ylim: [rows.length - 0.5, -0.5], xticks: [], yticks: [],
    xlabel: "step", ylabel: "level" });
  rows.forEach((_, row) => canvas.append(words(47, Y(row) + 4, row, { class: "tick", anchor: "end" })));
  range(0, length).forEach((place) => canvas.append(
    words(X(place), Y(rows.length - 0.5) + 15, place + 1, { class: "tick" })));
  const half = 0.4 * (X(1) - X(0));
  rows.slice(0, level + 1).forEach((places, row) => {
    const joins = row ? levels[row - 1] : [];
    const joined = new Set(joins.map(([, target]) => target));
    for (const [source, target] of joins) {
      add(arrow(X(target), Y(row - 0.75), X(target), Y(row - 0.26), "grey"),
        arrow(X(source), Y(row - 0.75), X(target), Y(row - 0.26), "red"));
    }
    places.forEach(([first, last], place) => add(box(X(place), Y(row), half, first, last,
      joined.has(place), length)));
  });
  return caption(order, length, level);
}

/** A place that has joined all steps up to its own is done: filled, with a tick. */
function box(x, y, half, first, last, joined, length) {
  const done = first === 0;
  const name = first === last ? `${first + 1}` : `${first + 1}–${last + 1}`;
  const text = words(x, y + 4, name + (done ? " ✓" : ""));
  text.style.fontWeight = joined ? "bold" : "normal";
  text.style.fontSize = length > 12 ? "10px" : "12.5px";
  return svg("g", { class: done ? "place done" : "place" }, svg("rect", {
    x: x - half, y: y - 13, width: 2 * half, height: 26, rx: 4, stroke: "var(--ink)",
    "stroke-width": done ? 2 : 0.8, fill: done ? "var(--sky)" : "var(--ground)" }), text);
}

function arrow(x1, y1, x2, y2, colour) {
  const angle = Math.atan2(y2 - y1, x2 - x1);
  const barb = (turn) => `${x2 - 8 * Math.cos(angle + turn)} ${y2 - 8 * Math.sin(angle + turn)}`;
  return svg("path", { class: `line ${colour} join`,
    d: `M${x1} ${y1}L${x2} ${y2}M${barb(0.45)}L${x2} ${y2}L${barb(-0.45)}` });
}

export default {
  render({ model, el }) {
    const level = slider(model, "level", { label: "level", min: 0, max: 15, step: 1 });
    const depth = () => ORDERS[model.get("order")](model.get("length")).length;
    explorer({ model, el }, "scan", {
      traits: ["order", "length", "level"], width: 900, height: 400,
      controls: [
        // Another scan: begin before its first level.
        choices(model, "order", { label: "order", options: Object.keys(ORDERS),
                                  told: (order) => ({ level: 0, order }) }),
        slider(model, "length", { label: "length", min: 2, max: 16, step: 1,
                                  told: (length) => ({ level: 0, length }) }),
        level,
      ],
      draw: (canvas) => {
        const input = level.querySelector("input");
        input.max = depth();
        // Python sets the level after the order: between the two it may be too high.
        const shown = Math.min(model.get("level"), depth());
        input.value = shown;
        return draw(canvas, model.get("order"), model.get("length"), shown);
      },
    });
  },
};
