// Set the sizes, point at a cell of a selective SSM's arrays, and see what it is multiplied with.

import { label } from "./axes.js";
import { slider } from "./controls.js";
import { svg } from "./elements.js";
import { explorer } from "./explorer.js";
import { flow, isNarrow } from "./layout.js";
import { addValues } from "./values.js";

/** The axes of each array, without the batch: l is the step, d the channel, n the component. */
const AXES = { x: "ld", "Δ": "ld", B: "ln", C: "ln", A: "dn", y: "ld", "exp(ΔA)": "ldn",
               h: "ldn" };
/** Which numbers are multiplied, and where the product goes; `earlier` is of the step before. */
const PRODUCTS = [
  { factors: ["Δ", "A"], result: "exp(ΔA)" },
  { factors: ["Δ", "B", "x"], result: "h" },
  { factors: ["exp(ΔA)", "h"], result: "h", earlier: "h" },
  { factors: ["C", "h"], result: "y" },
];

/** All index tuples of an array, as { l, d, n } with the axes that it has. */
function cells(name, sizes) {
  return [...AXES[name]].reduce((found, axis) => found.flatMap((cell) =>
    Array.from({ length: sizes[axis] }, (_, i) => ({ ...cell, [axis]: i }))), [{}]);
}

const agree = (one, other) => Object.entries(one).every(([axis, i]) => (other[axis] ?? i) === i);

/**
 * What a number is multiplied with, `factors`, and what the products are added to, `results`: both
 * as a list of [array, cell]. A number that is in no product has the factors that it comes from.
 */
export function partners(name, cell, sizes) {
  const found = { factors: [], results: [] };
  const add = (list, other, seen, shift) => cells(other, sizes).forEach((one) => {
    if (agree(shift ? { ...one, l: one.l + 1 } : one, seen)) list.push([other, one]);
  });
  for (const { factors, result, earlier } of PRODUCTS) {
    if (factors.includes(name)) {
      const seen = name === earlier ? { ...cell, l: cell.l + 1 } : cell;
      if (seen.l === sizes.l) continue;                     // there is no step after the last
      for (const other of factors.filter((factor) => factor !== name)) {
        add(found.factors, other, seen, other === earlier);
      }
      add(found.results, result, seen, false);
    } else if (name === "y" && result === "y") {
      factors.forEach((factor) => add(found.factors, factor, cell, false));
    }
  }
  return found;
}

const shapeOf = (name, sizes) => `(${[...(name === "A" ? "" : "b"), ...AXES[name]]
  .map((axis) => sizes[axis]).join(", ")})`;

export function caption(sizes) {
  const shape = (name) => shapeOf(name, sizes);
  const { b, l, d, n } = sizes;
  return `x, Δ and y have the shape ${shape("x")}, B and C ${shape("B")}, A ${shape("A")}. exp(ΔA) `
    + `and h have ${shape("h")}: ${b * l * d * n} values over all steps. The state after one step `
    + `has ${b * d * n}, and x has ${b * l * d}.`;
}

const nameOf = (name, cell) => `${name}[${[...AXES[name]].map((axis) => `${axis}=${cell[axis]}`)
  .join(", ")}]`;

/** A number in a formula; an axis that `cell` doesn't have stays a letter, for all its numbers. */
const term = (name, cell) => `${name}[${[...AXES[name]].map((axis) => cell[axis] ?? axis)
  .join(",")}]`;

/** What is said of a number: its name, and the formulas that it stands in. */
export function describe(name, cell, sizes) {
  const lines = [nameOf(name, cell)];
  if (name === "y") {
    const terms = Array.from({ length: sizes.n }, (_, n) =>
      `${term("C", { ...cell, n })}·${term("h", { ...cell, n })}`);
    const shown = sizes.n > 2 ? [terms[0], "…", terms[sizes.n - 1]] : terms;
    return [...lines, `${term("y", cell)} = ${shown.join(" + ")}`];
  }
  for (const { factors, result, earlier } of PRODUCTS.filter((one) => one.factors.includes(name))) {
    const seen = name === earlier ? { ...cell, l: cell.l + 1 } : cell;
    if (seen.l === sizes.l || (earlier && seen.l === 0)) continue;
    const product = factors.map((factor) => term(factor, factor === earlier
      ? { ...seen, l: seen.l - 1 } : seen)).join("·");
    const free = [...AXES[result]].filter((axis) => seen[axis] === undefined);
    lines.push(`${term(result, seen)} ${result === "exp(ΔA)" ? `= exp(${product})` : `+= ${product}`}`
      + free.map((axis) => `, for each ${axis}`).join(""));
  }
  return lines.length > 1 ? lines : [...lines, "there is no state before the first step"];
}

const FLAT = ["x", "Δ", "B", "C", "A", "y"];
const STEPPED = ["exp(ΔA)", "h"];

/** Where arrays are, and the steps of those with three axes, which have a heading. */
function layout(width, sizes) {
  const size = isNarrow(width) ? 20 : 24;
  const panel = (rows, columns, bottom) => ({ left: 18, right: 5, top: 36, bottom, grow: 0,
    width: size * Math.max(columns, 2), height: size * rows });
  const below = isNarrow(width) ? 54 : 44;      // for the words of a cell, above the next row
  const flat = FLAT.map((name) => ({ name, size, rows: sizes[AXES[name][0]],
    columns: sizes[AXES[name][1]], batch: name === "A" ? 1 : sizes.b,
    title: name, shape: shapeOf(name, sizes) }));
  const places = flow(width, flat.map(({ rows, columns }) => panel(rows, columns, below)));
  const pieces = flat.map((piece, i) => ({ ...piece, box: places.boxes[i] }));
  const headings = [];
  let { height } = places;
  for (const name of STEPPED) {
    headings.push({ y: height + 18,
                    text: `${name} of each step: ${shapeOf(name, sizes)}` });
    const steps = flow(width, Array(sizes.l).fill(panel(sizes.d, sizes.n, 22)));
    steps.boxes.forEach((box, l) => pieces.push({ name, size, rows: sizes.d, columns: sizes.n,
      batch: sizes.b, title: `l = ${l}`, shape: "", step: { l },
      box: { ...box, top: box.top + height + 14 } }));
    height += steps.height + 14;
  }
  return { pieces, headings, height: height + 36 };          // for the words of the last row
}

/** The indices of number i of a piece. */
function cellOf({ name, step, columns }, i) {
  const [rowAxis, columnAxis] = AXES[name].slice(-2);
  return { ...step, [rowAxis]: Math.floor(i / columns), [columnAxis]: i % columns };
}

/** The middle of number i of a piece. */
const middle = ({ box, size, columns }, i) => [box.left + size * ((i % columns) + 0.5),
  box.top + size * (Math.floor(i / columns) + 0.5)];

/** The cells of a piece, its title, its axes, and behind it the other sequences. */
function drawPiece(canvas, piece) {
  const { name, size, rows, columns, batch, title, shape, box: { left, top } } = piece;
  const [rowAxis, columnAxis] = AXES[name].slice(-2);
  const [width, height] = [size * columns, size * rows];
  for (let i = batch - 1; i > 0; i--) {
    canvas.append(svg("rect", { class: "behind", x: left + 4 * i, y: top - 4 * i, width, height }));
  }
  for (let i = 0; i < rows * columns; i++) {
    const [x, y] = middle(piece, i);
    canvas.append(svg("rect", { class: `cell ${STEPPED.includes(name) ? "sky" : ""}`,
      x: x - size / 2, y: y - size / 2, width: size, height: size }));
  }
  canvas.append(label(left + width / 2, top - 8 - 4 * (batch - 1), title),
    label(left - 9, top + height / 2 + 4, rowAxis, { class: "tick" }),
    label(left + width / 2, top + height + 14, columnAxis, { class: "tick" }),
    label(left + width / 2, top + height + 31, shape, { class: "small" }));
}

function draw(canvas, width, sizes) {
  const { pieces, headings, height } = layout(width, sizes);
  canvas.setAttribute("viewBox", `0 0 ${width} ${height}`);
  headings.forEach(({ y, text }) => canvas.append(label(8, y, text, { anchor: "start" })));
  const places = new Map(pieces.flatMap((piece) => Array.from(
    { length: piece.rows * piece.columns },
    (_, i) => [nameOf(piece.name, cellOf(piece, i)), middle(piece, i)])));
  const sign = (text, look) => ([name, cell]) => {
    const [x, y] = places.get(nameOf(name, cell));
    return svg("g", { class: "sign" }, svg("rect", { class: `area ${look}`, x: x - 9, y: y - 9,
      width: 18, height: 18 }), label(x, y + 5, text));
  };
  const bottom = ({ box: { top }, size, rows }) => top + size * rows;
  for (const piece of pieces) {
    drawPiece(canvas, piece);
    const row = pieces.filter(({ box }) => box.top === piece.box.top);
    const found = (i) => partners(piece.name, cellOf(piece, i), sizes);
    addValues(canvas, { box: piece.box, columns: piece.columns,
      count: piece.rows * piece.columns, at: (i) => middle(piece, i),
      text: (i) => describe(piece.name, cellOf(piece, i), sizes).join("\n"),
      // Below the cells, which are marked, and below the shape if there is one.
      height: Math.max(...row.map(bottom)) + (piece.shape ? 34 : -2),
      also: (i) => [...found(i).factors.map(sign("×", "blue")),
                    ...found(i).results.map(sign("=", "green"))] });
  }
  return caption(sizes);
}

export default {
  render({ model, el }) {
    const sizes = () => ({ b: model.get("batch"), l: model.get("length"), d: model.get("d_inner"),
                           n: model.get("d_state") });
    const size = (name, max) => slider(model, name, { label: name, min: 1, max, step: 1 });
    explorer({ model, el }, "shape", {
      traits: ["batch", "length", "d_inner", "d_state"],
      task: {
        ask: "make the state after one step larger than the whole input x.",
        done: "d_state > length. A longer input makes x larger, but not the state.",
        reached: () => model.get("d_state") > model.get("length"),
        presets: { "one channel": { batch: 1, length: 4, d_inner: 1, d_state: 3 },
                   "no batch": { batch: 1, length: 4, d_inner: 3, d_state: 2 },
                   "long": { batch: 2, length: 6, d_inner: 2, d_state: 2 } },
      },
      controls: [size("batch", 3), size("length", 6), size("d_inner", 5), size("d_state", 4)],
      draw: (canvas, width) => draw(canvas, width, sizes()),
    });
  },
};
