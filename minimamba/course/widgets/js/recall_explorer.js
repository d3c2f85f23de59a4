// Store key-value pairs in one state and see them interfere.

import { axes, label } from "./axes.js";
import { slider } from "./controls.js";
import { svg } from "./elements.js";
import { explorer } from "./explorer.js";
import { withMinus } from "./numbers.js";

const [MAX_PAIRS, ANSWERS, CHANNELS] = [64, 128, 128];

const bytes = (text) => Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
const dot = (a, b, size) => {
  let sum = 0;
  for (let i = 0; i < size; i++) sum += a[i] * b[i];
  return sum;
};

/**
 * A key is sent as a byte per component, a value as a bit per channel. Returns the keys, and the
 * similarity of every value to every possible answer.
 */
export function unpack({ keys, values }) {
  const components = Int8Array.from(bytes(keys));
  const bits = bytes(values);
  const value = (answer) => Int8Array.from({ length: CHANNELS }, (_, channel) => {
    const index = answer * CHANNELS + channel;
    return (bits[index >> 3] >> (7 - (index & 7))) & 1 ? 1 : -1;
  });
  const answers = Array.from({ length: ANSWERS }, (_, answer) => value(answer));
  return {
    keys: Array.from({ length: MAX_PAIRS }, (_, i) =>
      components.subarray(i * MAX_PAIRS, (i + 1) * MAX_PAIRS)),
    similarity: answers.slice(0, MAX_PAIRS).map((one) =>
      Float64Array.from(answers, (other) => dot(one, other, CHANNELS) / CHANNELS)),
  };
}

/** The index of the largest score, or of the largest except one. */
function argmax(scores, except = -1) {
  let best = except === 0 ? 1 : 0;
  for (let i = best + 1; i < scores.length; i++) {
    if (i !== except && scores[i] > scores[best]) best = i;
  }
  return best;
}

/**
 * Query j of n reads Σ vᵢ ⟨kᵢ, kⱼ⟩, and an answer's score is its similarity to that. Returns the
 * overlaps and scores of one query (from 1), and for 1, 2, … pairs how many are answered correctly.
 */
export function recall({ keys, similarity }, d_state, pairs, query) {
  const lengths = keys.map((key) => Math.sqrt(dot(key, key, d_state)));
  const overlaps = keys.map((one, i) => Float64Array.from(keys, (other, j) =>
    dot(one, other, d_state) / (lengths[i] * lengths[j])));
  const allScores = keys.map(() => new Float64Array(ANSWERS));
  const correct = [];
  let scores;
  for (let n = 1; n <= MAX_PAIRS; n++) {
    allScores.forEach((row, j) => {
      const overlap = overlaps[j][n - 1];
      for (let answer = 0; answer < ANSWERS; answer++) {
        row[answer] += overlap * similarity[n - 1][answer];
      }
    });
    correct.push(allScores.slice(0, n).filter((row, j) => argmax(row) === j).length);
    if (n === pairs) scores = Array.from(allScores[query - 1]);
  }
  return { overlaps: Array.from(overlaps[query - 1].slice(0, pairs)), scores, correct };
}

export function caption({ scores, correct }, d_state, pairs, query) {
  const other = argmax(scores, query - 1);
  const margin = scores[query - 1] - scores[other];
  const outcome = margin > 0 ? `correctly, by a margin of ${margin.toFixed(2)}`
    : `incorrectly: answer ${other + 1} scores ${(-margin).toFixed(2)} higher`;
  return `State dimension N = ${d_state}, ${pairs} pair${pairs > 1 ? "s" : ""} stored`
    + `${pairs > d_state ? ", too many for exact recall" : ""}. `
    + `Query ${query} is answered ${outcome}. Over all queries, ${correct[pairs - 1]} of ${pairs} `
    + "answers are correct.";
}

const captionAt = (canvas, x, y, text) => canvas.append(label(x, y, text, { anchor: "start" }));

/** Bars that stand on zero or hang from it. */
function bars({ X, Y, add }, heights, look) {
  const width = 0.8 * (X(1) - X(0));
  heights.forEach((height, i) => add(svg("rect", { class: `area ${look(i)}`, width,
    x: X(i + 1) - width / 2, y: Y(Math.max(0, height)), height: Math.abs(Y(height) - Y(0)) })));
}

const ROW = { top: 54, height: 160 };

function draw(canvas, data, d_state, pairs, query) {
  const found = recall(data, d_state, pairs, query);
  drawOverlaps(canvas, found.overlaps, query);
  drawScores(canvas, found.scores, query);
  drawAccuracy(canvas, found.correct, d_state, pairs);
  return caption(found, d_state, pairs, query);
}

function drawOverlaps(canvas, overlaps, query) {
  const keys = axes(canvas, { ...ROW, left: 62, width: 348, xlim: [0.2, MAX_PAIRS + 0.8],
    ylim: [-1.05, 1.05], xticks: [1, 16, 32, 48, 64], yticks: [-1, 0, 1],
    xlabel: "pair i (1 is the oldest)", ylabel: "⟨kᵢ, kⱼ⟩" });
  bars(keys, overlaps, (i) => (i === query - 1 ? "blue queried" : "red overlap"));
  captionAt(canvas, 62, 16, `overlap of each key with key ${query}, the query`);
  canvas.append(svg("rect", { class: "area blue", x: 62, y: 27, width: 11, height: 11 }),
    svg("rect", { class: "area red", x: 224, y: 27, width: 11, height: 11 }));
  captionAt(canvas, 79, 37, "with itself (always 1)");
  captionAt(canvas, 241, 37, "with the others: interference");
}

function drawScores(canvas, scores, query) {
  const own = query - 1;
  const other = argmax(scores, own);
  const limit = 1.08 * Math.max(1.2, ...scores.map(Math.abs));
  const answers = axes(canvas, { ...ROW, left: 482, width: 400, xlim: [0, ANSWERS + 1],
    ylim: [-limit, limit], xticks: [1, 32, 64, 96, 128], xlabel: "possible answer",
    ylabel: "score" });
  const { X, Y, add } = answers;
  const margin = scores[own] - scores[other];
  const [high, low] = [Math.max(scores[own], scores[other]), Math.min(scores[own], scores[other])];
  add(svg("rect", { class: `area ${margin > 0 ? "green" : "red"} margin`, "fill-opacity": 0.25,
                    x: answers.left, y: Y(high), width: 400, height: Y(low) - Y(high) }));
  bars(answers, scores, (i) => ({ [own]: "green", [other]: "red" })[i] ?? "grey score");
  add(disc(X(own + 1), Y(scores[own])), diamond(X(other + 1), Y(scores[other])));
  captionAt(canvas, 482, 16, `scores of the answers to query ${query}: margin `
    + `${withMinus(margin, 2)}, ${margin > 0 ? "correct" : "incorrect"}`);
  canvas.append(disc(488, 33), diamond(618, 33));
  captionAt(canvas, 500, 37, "correct answer");
  captionAt(canvas, 630, 37, "best wrong answer");
}

function drawAccuracy(canvas, correct, d_state, pairs) {
  const accuracy = correct.map((count, i) => (100 * count) / (i + 1));
  const all = axes(canvas, { left: 62, top: 304, width: 820, height: 120,
    xlim: [0.2, MAX_PAIRS + 0.8], ylim: [0, 105], xticks: [1, 8, 16, 24, 32, 40, 48, 56, 64],
    yticks: [0, 50, 100], xlabel: "pairs stored, n", ylabel: "accuracy, %" });
  all.add(svg("path", { class: "line grey exact", "stroke-dasharray": "5 4",
                        d: `M${all.X(d_state)} ${all.top}V${all.bottom}` }));
  all.line(accuracy.map((_, i) => i + 1), accuracy, "blue accuracy");
  all.add(svg("circle", { class: "area red current", cx: all.X(pairs),
                          cy: all.Y(accuracy[pairs - 1]), r: 6 }));
  captionAt(canvas, 62, 286, `accuracy over all queries, at state dimension N = ${d_state}`);
  canvas.append(svg("circle", { class: "area red", cx: 530, cy: 282, r: 5 }),
    svg("path", { class: "line grey", "stroke-dasharray": "5 4", d: "M666 282h24" }));
  captionAt(canvas, 542, 286, `now: ${correct[pairs - 1]} of ${pairs}`);
  captionAt(canvas, 697, 286, "n = N: limit of exact recall");
}

const disc = (cx, cy) => svg("circle", { class: "area green correct", cx, cy, r: 5 });
const diamond = (x, y) => svg("path", { class: "area red wrong",
  d: `M${x} ${y - 6}l6 6l-6 6l-6 -6z` });

export default {
  render({ model, el }) {
    const data = unpack(model.get("random_data"));
    const querySlider = slider(model, "query", { label: "query, pair j", min: 1, max: MAX_PAIRS,
                                                 step: 1 });
    explorer({ model, el }, "recall", {
      traits: ["d_state", "pairs", "query"], width: 900, height: 466,
      controls: [
        slider(model, "d_state", { label: "state dimension N", min: 2, max: MAX_PAIRS, step: 1 }),
        // Only a pair that is stored can be queried.
        slider(model, "pairs", { label: "pairs stored, n", min: 1, max: MAX_PAIRS, step: 1,
          update: (pairs) => ({ query: Math.min(model.get("query"), pairs), pairs }) }),
        querySlider,
      ],
      draw: (canvas) => {
        const input = querySlider.querySelector("input");
        input.max = model.get("pairs");
        // Python sets the pairs first: until it has set the query, that may be too high.
        const shown = Math.min(model.get("query"), model.get("pairs"));
        input.value = shown;
        return draw(canvas, data, model.get("d_state"), model.get("pairs"), shown);
      },
    });
  },
};
