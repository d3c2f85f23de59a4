// Drag Δλ over the complex plane and see which rule's state fades.

const STEPS = 24;
const PLANE = { xlim: [-4, 2], ylim: [-3, 3] };
const RULES = {
  Euler: { colour: "blue", pole: ([re, im]) => [1 + re, im] },
  "backward Euler": { colour: "red", pole: ([re, im]) => over([1, 0], [1 - re, -im]) },
  bilinear: { colour: "green",
              pole: ([re, im]) => over([1 + re / 2, im / 2], [1 - re / 2, -im / 2]) },
  "zero-order hold": { colour: "purple",
                       pole: ([re, im]) => [Math.exp(re) * Math.cos(im),
                                            Math.exp(re) * Math.sin(im)] },
};

const times = ([a, b], [c, d]) => [a * c - b * d, a * d + b * c];
const size = ([re, im]) => Math.hypot(re, im);

function over(one, [c, d]) {
  const [re, im] = times(one, [c, -d]);
  return [re / (c * c + d * d), im / (c * c + d * d)];
}

/** Ā of each rule, in the order of RULES. The small number steps around the poles at 1 and 2. */
export function poles(real, imaginary) {
  return Object.values(RULES).map(({ pole }) => pole([real, imaginary + 1e-9]));
}

/** The real part of Āⁿ, for n = 0, 1, 2 … */
export function sequence(pole) {
  const powers = [[1, 0]];
  while (powers.length <= STEPS) powers.push(times(powers[powers.length - 1], pole));
  return powers.map(([re]) => re);
}

const fate = (growth) => (growth < 1 - 1e-6 ? "fades" : growth > 1 + 1e-6 ? "grows" : "stays");

export function caption(real, imaginary) {
  const found = poles(real, imaginary).map(size);
  const told = Object.keys(RULES).map((rule, i) =>
    `${rule} ${general(found[i], 3)}, ${fate(found[i])}`);
  return `Δλ = ${real.toFixed(2)} ${imaginary < 0 ? "-" : "+"} ${Math.abs(imaginary).toFixed(2)}i, `
    + `where the true mode ${fate(Math.exp(real))}. |Ā| by each rule: ${told.join("; ")}.`;
}

const left = (i) => 50 + 218 * i;
const SQUARE = { top: 28, width: 186, height: 186 };

/** Where the rule's state fades, as a path on its plane. */
function region(rule, { X, Y }) {
  const radius = X(1) - X(0);
  const circle = (x) => `M${X(x) - radius} ${Y(0)}a${radius} ${radius} 0 1 0 ${2 * radius} 0`
    + `a${radius} ${radius} 0 1 0 ${-2 * radius} 0`;
  const box = (x1, x2) => `M${X(x1)} ${Y(-9)}V${Y(9)}H${X(x2)}V${Y(-9)}z`;
  return { Euler: circle(-1), "backward Euler": box(-9, 9) + circle(1) }[rule] ?? box(-9, 0);
}

function draw(canvas, real, imaginary) {
  poles(real, imaginary).forEach((pole, i) => {
    const [rule, { colour }] = Object.entries(RULES)[i];
    const plane = axes(canvas, { ...SQUARE, ...PLANE, left: left(i), title: rule, xlabel: "Re Δλ",
      xticks: [-4, -2, 0, 2], ylabel: i ? "" : "Im Δλ" });
    const [x, y] = [plane.X(real), plane.Y(imaginary)];
    plane.add(
      svg("path", { class: `area ${colour}`, "fill-opacity": 0.3, "fill-rule": "evenodd",
                    d: region(rule, plane) }),
      svg("path", { class: `line ${colour}`, d: region(rule, plane) }),
      svg("path", { class: "axis", d: `M${plane.X(0)} 0V500` }),
      svg("circle", { class: "area ink point", cx: x, cy: y, r: 6 }),
      svg("rect", { class: "hand", x: left(i), y: SQUARE.top, width: SQUARE.width,
                    height: SQUARE.height }));
    const growth = size(pole);
    const steps = axes(canvas, { left: left(i), top: 292, width: 186, height: 110,
      xlim: [0, STEPS], ylim: [-1.5, 1.5], title: `|Ā| = ${general(growth, 3)}: ${fate(growth)}`,
      xlabel: "step n", ylabel: i ? "" : "Re Āⁿ", xticks: [0, 10, 20], yticks: [-1, 0, 1] });
    // What leaves the picture goes on beyond it, but not so far that a browser can't draw it.
    const seen = sequence(pole).map((value) => Math.max(-99, Math.min(99, value)));
    steps.line(seen.keys(), seen, `${colour} sequence`);
    seen.forEach((value, n) => steps.add(svg("circle", {
      class: `area ${colour}`, cx: steps.X(n), cy: steps.Y(value), r: 2.6 })));
  });
  return caption(real, imaginary);
}

/** What a press takes hold of: on one of the planes, the point of all. */
function hold(model, x, y) {
  const i = [0, 1, 2, 3].find((k) => x >= left(k) && x <= left(k) + SQUARE.width);
  if (i === undefined || y < SQUARE.top || y > SQUARE.top + SQUARE.height) return null;
  const within = (value, [low, high]) => Math.round(20 * Math.max(low, Math.min(high, value))) / 20;
  return (px, py) => tell(model, {
    real: within(-4 + (6 * (px - left(i))) / SQUARE.width, PLANE.xlim),
    imaginary: within(3 - (6 * (py - SQUARE.top)) / SQUARE.height, PLANE.ylim) });
}

export default {
  render({ model, el }) {
    const read = (value) => value.toFixed(2).replace("-", "−");
    drag(explorer({ model, el }, "stability", {
      traits: ["real", "imaginary"], width: 900, height: 446,
      controls: [
        slider(model, "real", { label: "Re Δλ", min: -4, max: 2, step: 0.05, read }),
        slider(model, "imaginary", { label: "Im Δλ", min: -3, max: 3, step: 0.05, read }),
      ],
      draw: (canvas) => draw(canvas, model.get("real"), model.get("imaginary")),
    }), (x, y) => hold(model, x, y));
  },
};
