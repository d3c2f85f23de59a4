// Slide a flipped kernel over an input, and carry a state beside it: one output, made both ways.

export const unpack = ({ samples }) => samples.split(" ").map(Number);

/** The system h = Ā h + x, y = Re h, as a kernel at one place and as a recurrence. */
export function both(x, place, decay, turn) {
  const angle = (turn * Math.PI) / 180;
  const kernel = x.map((_, lag) => decay ** lag * Math.cos(lag * angle));
  const products = x.slice(0, place + 1).map((input, s) => kernel[place - s] * input);
  const [real, imaginary] = [decay * Math.cos(angle), decay * Math.sin(angle)];
  let [re, im] = [0, 0];
  const state = x.map((input) => {
    [re, im] = [real * re - imaginary * im + input, real * im + imaginary * re];
    return [re, im];
  });
  const kept = place ? state[place - 1] : [0, 0];
  return { kernel, products, sum: products.reduce((sum, product) => sum + product, 0), state, kept,
           faded: [real * kept[0] - imaginary * kept[1], real * kept[1] + imaginary * kept[0]] };
}

/** Three decimals; two numbers that differ by rounding alone read the same, and so do ±0. */
const said = (value) => (Math.round(value * 1e9) / 1e9 || 0).toFixed(3).replace("-", "−");
const complex = ([re, im]) => {
  const size = said(Math.abs(im));
  return `${said(re)} ${im < 0 && Number(size) ? "−" : "+"} ${size}i`;
};

export function caption(x, place, decay, turn) {
  const { sum, state } = both(x, place, decay, turn);
  const many = place ? `${place + 1} products add up` : "1 product comes";
  return `Step ${place}. Convolution: ${many} to ${said(sum)}. Recurrence: the state is `
    + `${complex(state[place])}, and its real part ${said(state[place][0])}.`;
}

const LEFT = 62;
const WIDTH = 560;
const STACK = { top: 28, bottom: 446 };
const small = (number) => String(number).replace(/./g, (c) => "₀₁₂₃₄₅₆₇₈₉"[c] ?? "₋");

/** One of the four panels, a bar a step; the place has a band, and what comes after it is pale. */
function bars(canvas, values, place, { row, colour, limit, title, ...labels }) {
  const { X, Y, add, top } = axes(canvas, { left: LEFT, top: STACK.top + 112 * row, width: WIDTH,
    height: 82, xlim: [-0.6, values.length - 0.4], ylim: [-limit, limit], xticks: [],
    yticks: ticks([-limit, limit], 4), ...labels });
  canvas.append(words(LEFT, top - 8, title, { anchor: "start" }));
  add(svg("rect", { class: "area sky now", x: X(place - 0.5), width: X(1) - X(0), y: top,
                    height: 82 }),
    svg("path", { class: "axis", d: `M${LEFT} ${Y(0)}h${WIDTH}` }));
  values.forEach((value, step) => add(svg("rect", {
    class: `area ${colour} bar`, x: X(step - 0.32), width: X(0.64) - X(0),
    y: Math.min(Y(0), Y(value)), height: Math.abs(Y(value) - Y(0)),
    "fill-opacity": step > place ? 0.3 : 1 })));
}

function draw(canvas, x, unit, place, decay, turn) {
  const found = both(x, place, decay, turn);
  const { kernel, products, sum, state } = found;
  const largest = (values) => 1.1 * Math.max(...values.map(Math.abs));
  const [taken, held] = [largest(x), largest(state.map((h) => Math.hypot(...h)))];
  const upto = (values) => x.map((_, s) => (s > place ? 0 : values[s]));
  const at = small(place);
  bars(canvas, x, place, { row: 0, colour: "grey", limit: taken, ylabel: "xₛ",
    title: `input x${unit}` });
  bars(canvas, upto(kernel.slice(0, place + 1).reverse()), place, { row: 1, colour: "blue",
    limit: 1.1, ylabel: "Kₜ₋ₛ", title: `the kernel, flipped: K₀ stands under x${at}` });
  bars(canvas, upto(products), place, { row: 2, colour: "green", limit: taken, ylabel: "Kₜ₋ₛ xₛ",
    title: `the products of the two: their sum is ${said(sum)}` });
  bars(canvas, state.map(([re]) => re), place, { row: 3, colour: "red", limit: held, ylabel: "yₜ",
    title: `output y${unit}: y${at} = ${said(sum)}`, xlabel: "step",
    xticks: ticks([0, x.length - 1], 8) });
  canvas.append(svg("rect", { class: "hand", x: LEFT, y: STACK.top, width: WIDTH,
                              height: STACK.bottom - STACK.top }));
  recurrence(canvas, x[place], place, found, held);
  return caption(x, place, decay, turn);
}

/** The state in its plane: where it was, what Ā makes of that, and what the input adds. */
function recurrence(canvas, input, place, { state, kept, faded }, limit) {
  const round = ticks([-limit, limit], 4);
  const plane = axes(canvas, { left: 690, top: STACK.top, width: 200, height: 200,
    xlim: [-limit, limit], ylim: [-limit, limit], xticks: round, yticks: round,
    title: "recurrence: the state h", xlabel: "Re h", ylabel: "Im h" });
  const point = ([re, im]) => [plane.X(re), plane.Y(im)];
  const dot = ([cx, cy], r, look) => svg("circle", { class: look, cx, cy, r });
  const [before, between, now] = [kept, faded, state[place]].map(point);
  plane.add(
    svg("path", { class: "axis", d: `M${plane.left} ${plane.Y(0)}h200M${plane.X(0)} 0v500` }),
    ...state.slice(0, place).map((h) => dot(point(h), 2, "area grey")),
    svg("path", { class: "line red", d: `M${now}V${plane.Y(0)}`, "stroke-dasharray": "3 3" }),
    svg("path", { class: "line blue", d: `M${before}L${between}` }),
    svg("path", { class: "line purple", d: `M${between}L${now}`, "stroke-dasharray": "7 2" }),
    dot(before, 4, "line ink"), dot(now, 4.5, "area ink state"));
  const [h, x, y] = ["h", "x", "y"].map((name) => name + small(place));
  const rows = [
    [dot([664, 0], 4, "line ink"), `h${small(place - 1)} = ${complex(kept)}`],
    [svg("path", { class: "line blue", d: "M653 0h22" }), `times Ā: ${complex(faded)}`],
    [svg("path", { class: "line purple", d: "M653 0h22", "stroke-dasharray": "7 2" }),
     `plus ${x} = ${said(input)}`],
    [dot([664, 0], 4.5, "area ink"), `${h} = ${complex(state[place])}`],
    [svg("path", { class: "line red", d: "M653 0h22", "stroke-dasharray": "3 3" }),
     `${y} = Re ${h} = ${said(state[place][0])}`]];
  rows.forEach(([mark, told], i) => canvas.append(svg("g", {
    transform: `translate(0 ${300 + 28 * i})` }, mark, words(684, 4, told, { anchor: "start" }))));
}

export default {
  render({ model, el }) {
    const inputs = model.get("inputs");
    const signals = Object.fromEntries(Object.entries(inputs).map(([name, input]) =>
      [name, unpack(input)]));
    const last = Object.values(signals)[0].length - 1;
    const slide = (x) => tell(model, { place: Math.max(0, Math.min(last,
      Math.round((x - LEFT) * (last + 1.2) / WIDTH - 0.6))) });
    drag(explorer({ model, el }, "kernel", {
      traits: ["place", "decay", "turn", "input"], width: 900, height: 484,
      controls: [
        slider(model, "place", { label: "place t", min: 0, max: last, step: 1 }),
        slider(model, "decay", { label: "decay |Ā|", min: 0, max: 1, step: 0.05,
                                 read: (value) => value.toFixed(2) }),
        slider(model, "turn", { label: "turn of Ā in a step", min: 0, max: 180, step: 5,
                                read: (value) => `${general(value, 3)}°` }),
        choices(model, "input", { label: "input x", options: Object.keys(inputs) }),
      ],
      draw: (canvas) => {
        const name = model.get("input");
        return draw(canvas, signals[name], inputs[name].unit, model.get("place"),
          model.get("decay"), model.get("turn"));
      },
    }), (x, y) => (x >= LEFT && x <= LEFT + WIDTH && y >= STACK.top && y <= STACK.bottom
      ? slide : null));
  },
};
