// Drag Δ and watch a state decay, hold or reset.

const LAGS = 60;
const STRETCHES = { "1 (now)": 1, "2–10": 10, "11–100": 100, "101–1000": 1000, older: Infinity };

/** A recording is sent as whole numbers, 0 at its lowest sample and 9999 at its highest. */
export function unpack({ low, high, samples }) {
  return Float64Array.from(samples.split(" "), (n) => low + ((high - low) * n) / 9999);
}

/** One state, h = Ā h + B̄ x by zero-order hold with B = |A|, from rest at the first sample. */
export function decay(x, delta, rate) {
  const z = delta * rate;
  const [pole, taken] = [Math.exp(-z), -Math.expm1(-z)];
  let h = x[0];
  const state = x.map((input) => (h = pole * h + taken * input));
  const response = Array.from({ length: LAGS }, (_, lag) => pole ** lag);
  // The kernel's first n weights, taken · Āᵏ, as a share of those that the recording has room for.
  const longest = Math.max(LAGS, x.length);
  const upto = Object.values(STRETCHES).map((n) => Math.expm1(-z * Math.min(n, longest))
    / Math.expm1(-z * longest));
  const shares = upto.map((share, i) => share - (i ? upto[i - 1] : 0));
  return { pole, taken, state, response, shares, halfLife: Math.LN2 / z };
}

export function caption({ pole, taken, halfLife }) {
  return `The pole is ${pole.toFixed(4)}; the state's memory of an input halves in `
    + `${general(halfLife, 3)} steps; the last step alone makes up `
    + `${(100 * taken).toFixed(0)}% of the state.`;
}

function draw(canvas, x, { step, unit, low, high }, delta, rate) {
  const found = decay(x, delta, rate);
  const plane = axes(canvas, { left: 52, top: 28, width: 150, height: 150, xlim: [-1.2, 1.2],
    ylim: [-1.2, 1.2], xticks: [-1, 0, 1], yticks: [-1, 0, 1], title: "discrete pole Ā",
    xlabel: "Re", ylabel: "Im" });
  const [px, py] = [plane.X(found.pole), plane.Y(0)];
  plane.add(svg("circle", { class: "line grey", cx: plane.X(0), cy: py, r: plane.X(1) - plane.X(0) }),
    svg("path", { class: "line red pole", "stroke-width": 4,
                  d: `M${px - 6} ${py - 6}l12 12m0 -12l-12 12` }),
    words(plane.X(0), plane.Y(0.42), found.pole.toFixed(4)));

  const impulse = axes(canvas, { left: 272, top: 28, width: 230, height: 150, xlim: [0, LAGS],
    ylim: [0, 1.05], title: "impulse response", xlabel: "steps after the impulse",
    ylabel: "share left", yticks: [0, 0.5, 1] });
  const lags = found.response.flatMap((_, lag) => [lag, lag + 1]);
  impulse.line(lags, found.response.flatMap((share) => [share, share]), "blue response");

  const names = Object.keys(STRETCHES);
  const past = axes(canvas, { left: 590, top: 28, width: 290, height: 150, xlim: [0, 1],
    ylim: [names.length - 0.5, -0.5], yticks: [], xlabel: "share",
    title: "share of the state that is from steps" });
  names.forEach((name, i) => {
    canvas.append(words(582, past.Y(i) + 4, name, { class: "tick", anchor: "end" }));
    past.add(svg("rect", { class: "area green", x: past.left, y: past.Y(i - 0.36), height: 21,
                           width: Math.max(0, past.X(found.shares[i]) - past.left) }));
  });

  const pad = 0.05 * (high - low);
  const t = x.map((_, i) => i * step);
  const signal = axes(canvas, { left: 62, top: 262, width: 818, height: 150, xlabel: "time, s",
    xlim: [0, t[t.length - 1]], ylim: [low - pad, high + pad], ylabel: unit });
  signal.line(t, x, "grey input");
  signal.line(t, found.state, "red state");
  canvas.append(words(62, 250, `Δ = ${general(delta, 3)}, |A| = ${general(rate, 3)}: the memory of `
    + `an input halves in ${general(found.halfLife, 3)} steps`, { anchor: "start" }),
    svg("path", { class: "line grey", d: "M700 246h24" }),
    words(730, 250, "input", { anchor: "start" }),
    svg("path", { class: "line red", d: "M790 246h24" }),
    words(820, 250, "state", { anchor: "start" }));
  return caption(found);
}

export default {
  render({ model, el }) {
    const recordings = model.get("recordings");
    const signals = Object.fromEntries(Object.entries(recordings).map(([name, recording]) =>
      [name, unpack(recording)]));
    explorer({ model, el }, "delta", {
      traits: ["delta", "rate", "input"], width: 900, height: 450,
      controls: [
        slider(model, "delta", { label: "Δ", min: -4, max: 1, step: 0.05, log: true,
                                 read: (value) => general(value, 4) }),
        slider(model, "rate", { label: "decay rate |A|", min: -1, max: 1, step: 0.05, log: true,
                                read: (value) => general(value, 3) }),
        choices(model, "input", { label: "input x", options: Object.keys(recordings) }),
      ],
      draw: (canvas) => {
        const name = model.get("input");
        return draw(canvas, signals[name], recordings[name], model.get("delta"), model.get("rate"));
      },
    });
  },
};
