// Type tokens and noise, set Δ for each, and see which tokens the state consists of.

import { axes, label } from "./axes.js";
import { slider, textField } from "./controls.js";
import { svg } from "./elements.js";
import { explorer } from "./explorer.js";
import { formatGeneral } from "./numbers.js";
import { addValues } from "./values.js";

const NOISE = ".";
const MAX_LENGTH = 24;
const ROW = 22;

/** Remove what can't be a token, so that the drawing always keeps up with the typing. */
export function clean(text) {
  const tokens = [...text].filter((character) => character === NOISE || /\p{L}/u.test(character));
  return tokens.slice(0, MAX_LENGTH).join("") || NOISE;
}

/**
 * A state with one component per distinct token: h = (1 − gate) h + gate x, where x is 1 in the
 * token's own component. At `position`, from 1, Δ is `positionDelta`.
 */
export function states(text, letterDelta, noiseDelta, position, positionDelta) {
  const tokens = [...text];
  const delta = tokens.map((token, i) =>
    (i + 1 === position ? positionDelta : token === NOISE ? noiseDelta : letterDelta));
  const gate = delta.map((step) => -Math.expm1(-step));
  const distinct = [...new Set(tokens)].sort((a, b) => (b === NOISE) - (a === NOISE));
  let h = distinct.map(() => 0);
  const history = tokens.map((token, i) =>
    (h = h.map((value, k) => (1 - gate[i]) * value + gate[i] * (distinct[k] === token))));
  return { tokens, distinct, delta, gate, states: history };
}

const name = (token) => (token === NOISE ? "noise" : token);
const percent = (fraction) => (100 * fraction).toFixed(0);

export function caption({ tokens, distinct, states: history }) {
  const last = history[history.length - 1];
  const parts = distinct.map((token, k) => `${name(token)} ${percent(last[k])}%`);
  return `After ${tokens.join("")} the state consists of: ${parts.join(", ")}.`;
}

function draw(canvas, room, found, position) {
  const { tokens, distinct, delta, gate } = found;
  const full = found.states.flat().some((fraction) => fraction >= 0.995);
  const width = Math.max(room, 66 + (full ? 22 : 17.5) * tokens.length);   // for 100 or 99
  const height = ROW * Math.max(distinct.length, 4);
  canvas.setAttribute("viewBox", `0 0 ${width} ${height + 326}`);
  const across = { left: 58, width: width - 66, xlim: [-0.5, tokens.length - 0.5], xticks: [] };
  const steps = axes(canvas, { ...across, top: 26, height: 100, ylog: true, ylim: [5e-4, 20],
    yticks: [1e-3, 0.1, 10], ylabel: "Δ" });
  const gates = axes(canvas, { ...across, top: 148, height: 90, ylim: [0, 1.05],
    yticks: [0, 0.5, 1], ylabel: "1 − exp(−Δ)" });
  const state = axes(canvas, { ...across, top: 276, height, ylim: [distinct.length - 0.5, -0.5],
    yticks: [], xlabel: "token", title: "composition of the state, %" });
  bars(steps, delta, position, "blue step");
  bars(gates, gate, position, "green gate");
  const at = (i) => `token ${i + 1}, ${name(tokens[i])}: `;
  steps.values([...tokens.keys()], delta, (i) => `${at(i)}Δ = ${formatGeneral(delta[i], 3)}`);
  gates.values([...tokens.keys()], gate, (i) => `${at(i)}${percent(gate[i])}% is replaced`);
  if (position) {
    const x = Math.max(90, Math.min(width - 30, steps.X(position - 1)));
    canvas.append(label(x, 18, "override"));
  }
  drawStates(canvas, state, found);
  tokens.forEach((token, i) => {
    const text = label(state.X(i), state.bottom + 16, token);
    if (i + 1 === position) text.style.fontWeight = "bold";
    canvas.append(text);
  });
  return caption(found);
}

/** A bar per token, in another colour where Δ is overridden. */
function bars({ X, Y, bottom, add }, heights, position, look) {
  const width = X(1) - X(0);
  heights.forEach((value, i) => add(svg("rect", {
    class: `area ${i + 1 === position ? "red" : look}`, x: X(i) - 0.4 * width, y: Y(value),
    width: 0.8 * width, height: bottom - Y(value) })));
}

/** A row per distinct token, a column per position; the darker, the more of the state it is. */
function drawStates(canvas, state, { tokens, distinct, states: history }) {
  const width = state.X(1) - state.X(0);
  const height = state.height / distinct.length;
  distinct.forEach((token, k) => {
    canvas.append(label(52, state.Y(k) + 4, name(token), { class: "tick", anchor: "end" }));
    history.forEach((fractions, i) => {
      state.add(svg("rect", { class: "area blue fraction", "fill-opacity": 0.5 * fractions[k],
        width, x: state.X(i) - width / 2, y: state.Y(k) - height / 2, height }));
      if (fractions[k] >= 0.005) {
        state.add(label(state.X(i), state.Y(k) + 4, percent(fractions[k]),
          { class: width < 24 ? "small" : "" }));
      }
    });
  });
  addValues(canvas, { box: state, count: distinct.length * tokens.length, columns: tokens.length,
    at: (i) => [state.X(i % tokens.length), state.Y(Math.floor(i / tokens.length))],
    text: (i) => {
      const [k, t] = [Math.floor(i / tokens.length), i % tokens.length];
      return `after token ${t + 1}: ${percent(history[t][k])}% is ${name(distinct[k])}`;
    } });
}

/** Whether most of the last state comes from another letter than the last one. */
function skipsTheLastLetter({ tokens, distinct, states: history }) {
  const last = tokens.filter((token) => token !== NOISE).pop();
  return distinct.some((token, k) => token !== NOISE && token !== last
    && history[history.length - 1][k] > 0.5);
}

export default {
  render({ model, el }) {
    const format = (value) => formatGeneral(value, 3);
    const step = { min: -3, max: 1, step: 0.05, log: true, format };
    const positionSlider = slider(model, "position", { label: "override Δ at token",
      min: 0, max: MAX_LENGTH, step: 1,
      format: (position) => (position ? `${position}: ${[...model.get("tokens")][position - 1]}`
        : "none") });
    const found = () => {
      const tokens = model.get("tokens");
      // Python sets the tokens first: until it has set the position, that may be beyond the end.
      const position = Math.min(model.get("position"), [...tokens].length);
      return { position, ...states(tokens, model.get("letter_delta"), model.get("noise_delta"),
        position, model.get("position_delta")) };
    };
    const text = "..a...b..c....";
    explorer({ model, el }, "token", {
      traits: ["tokens", "letter_delta", "noise_delta", "position", "position_delta"],
      task: {
        ask: "make the state skip the last letter, so that most of it is an earlier one.",
        done: "A small Δ at one token, and the state passes over it.",
        reached: () => skipsTheLastLetter(found()),
        presets: {
          "selective": { position: 0, tokens: text, letter_delta: 3, noise_delta: 0.01 },
          "one Δ for all": { position: 0, tokens: text, letter_delta: 0.3, noise_delta: 0.3 },
        },
      },
      controls: [
        textField(model, "tokens", { label: "tokens", clean, hint: `only letters and “.”, up to ${MAX_LENGTH}`,
          update: (tokens) => ({ position: Math.min(model.get("position"), [...tokens].length),
                                 tokens }) }),
        slider(model, "letter_delta", { label: "Δ at a letter", ...step }),
        slider(model, "noise_delta", { label: "Δ at noise", ...step }),
        positionSlider,
        slider(model, "position_delta", { label: "Δ at that token", ...step }),
      ],
      draw: (canvas, width) => {
        const { position, ...rest } = found();
        positionSlider.querySelector("input").max = rest.tokens.length;
        return draw(canvas, width, rest, position);
      },
    });
  },
};
