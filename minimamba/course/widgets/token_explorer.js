// Type tokens and noise, set Δ for each, and see what the state is made of.

const NOISE = ".";
const LONGEST = 24;
const ROW = 22;

/** What can't be a token is left out, so that the drawing never lags behind the typing. */
export function clean(text) {
  const tokens = [...text].filter((sign) => sign === NOISE || /\p{L}/u.test(sign));
  return tokens.slice(0, LONGEST).join("") || NOISE;
}

/** One number a kind of token, h = (1 − gate) h + gate x, of which x is 1 for the token's own. */
export function states(tokens, letter, noise, place, there) {
  const line = [...tokens];
  const delta = line.map((token, i) =>
    (i + 1 === place ? there : token === NOISE ? noise : letter));
  const gate = delta.map((step) => -Math.expm1(-step));
  const kinds = [...new Set(line)].sort((a, b) => a.codePointAt(0) - b.codePointAt(0));
  let h = kinds.map(() => 0);
  const held = line.map((token, i) =>
    (h = h.map((share, k) => (1 - gate[i]) * share + gate[i] * (kinds[k] === token))));
  return { line, kinds, delta, gate, states: held };
}

const name = (kind) => (kind === NOISE ? "noise" : kind);
const percent = (share) => (100 * share).toFixed(0);

export function caption({ line, kinds, states: held }) {
  const shares = held[held.length - 1];
  return `After ${line.join("")} the state is made of: `
    + `${kinds.map((kind, k) => `${name(kind)} ${percent(shares[k])}%`).join(", ")}.`;
}

function draw(canvas, found, place) {
  const { line, kinds, delta, gate, states: held } = found;
  const height = ROW * Math.max(kinds.length, 4);
  canvas.setAttribute("viewBox", `0 0 900 ${height + 326}`);
  const across = { left: 66, width: 820, xlim: [-0.5, line.length - 0.5], xticks: [] };
  const steps = axes(canvas, { ...across, top: 26, height: 100, ylog: true, ylim: [5e-4, 20],
    yticks: [1e-3, 0.1, 10], ylabel: "Δ" });
  const gates = axes(canvas, { ...across, top: 148, height: 90, ylim: [0, 1.05],
    yticks: [0, 0.5, 1], ylabel: "gate" });
  const state = axes(canvas, { ...across, top: 276, height, ylim: [kinds.length - 0.5, -0.5],
    yticks: [], xlabel: "token", title: "what the state is made of, %" });
  const width = state.X(1) - state.X(0);
  const bar = ({ X, Y, bottom, add }, heights, look) => heights.forEach((value, i) => add(
    svg("rect", { class: `area ${i + 1 === place ? "red" : look}`, x: X(i) - 0.4 * width,
                  y: Y(value), width: 0.8 * width, height: bottom - Y(value) })));
  bar(steps, delta, "blue step");
  bar(gates, gate, "green gate");
  if (place) canvas.append(words(steps.X(place - 1), 18, "by hand"));
  const tall = height / kinds.length;
  kinds.forEach((kind, k) => {
    canvas.append(words(58, state.Y(k) + 4, name(kind), { class: "tick", anchor: "end" }));
    held.forEach((shares, i) => {
      state.add(svg("rect", { class: "area blue share", "fill-opacity": 0.5 * shares[k], width,
        x: state.X(i) - width / 2, y: state.Y(k) - tall / 2, height: tall }));
      if (shares[k] >= 0.005) state.add(words(state.X(i), state.Y(k) + 4, percent(shares[k])));
    });
  });
  line.forEach((token, i) => {
    const letter = words(state.X(i), state.bottom + 16, token);
    if (i + 1 === place) letter.style.fontWeight = "bold";
    canvas.append(letter);
  });
  return caption(found);
}

export default {
  render({ model, el }) {
    const read = (value) => general(value, 3);
    const step = { min: -3, max: 1, step: 0.05, log: true, read };
    const place = slider(model, "place", { label: "by hand, place", min: 0, max: LONGEST, step: 1,
      read: (at) => (at ? `${at}: ${[...model.get("tokens")][at - 1]}` : "nowhere") });
    explorer({ model, el }, "token", {
      traits: ["tokens", "letter", "noise", "place", "there"], width: 900, height: 400,
      controls: [
        typed(model, "tokens", { label: "tokens", clean, read: `up to ${LONGEST}`,
          told: (tokens) => ({ place: Math.min(model.get("place"), [...tokens].length), tokens }) }),
        slider(model, "letter", { label: "Δ at a letter", ...step }),
        slider(model, "noise", { label: "Δ at noise", ...step }),
        place,
        slider(model, "there", { label: "Δ there", ...step }),
      ],
      draw: (canvas) => {
        const [tokens, letter, noise, there] = ["tokens", "letter", "noise", "there"].map(
          (setting) => model.get(setting));
        const length = [...tokens].length;
        place.querySelector("input").max = length;
        // Python sets the tokens first: until it has set the place, that may be cut off.
        const at = Math.min(model.get("place"), length);
        return draw(canvas, states(tokens, letter, noise, at, there), at);
      },
    });
  },
};
