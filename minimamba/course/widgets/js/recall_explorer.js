// Store key-value pairs in one state and see them interfere.

import { axes, label, legend, marks } from "./axes.js";
import { slider } from "./controls.js";
import { svg } from "./elements.js";
import { explorer } from "./explorer.js";
import { flow } from "./layout.js";
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

/** Bars that stand on zero or hang from it. */
function bars({ X, Y, add }, heights, look) {
  const width = 0.8 * (X(1) - X(0));
  heights.forEach((height, i) => add(svg("rect", { class: `area ${look(i)}`, width,
    x: X(i + 1) - width / 2, y: Y(Math.max(0, height)), height: Math.abs(Y(height) - Y(0)) })));
}

const disc = (cx, cy) => svg("circle", { class: "area green correct", cx, cy, r: 5 });
const diamond = (x, y) => svg("path", { class: "area red wrong",
  d: `M${x} ${y - 6}l6 6l-6 6l-6 -6z` });

const DASHED = "5 4";
const ABOVE = 34 + 36;                                      // a heading, and two lines of a legend
const keyMarks = () => [[marks.square("blue"), "with itself: 1"],
                        [marks.square("red"), "with the others: interference"]];
const answerMarks = () => [[disc(11, 0), "correct answer"], [diamond(11, 0), "best wrong answer"]];
const accuracyMarks = (correct, pairs) => [[marks.disc("red"), `now: ${correct} of ${pairs}`],
  [marks.line("grey", DASHED), "n = N: limit of exact recall"]];

function draw(canvas, width, found, d_state, pairs, query) {
  const { boxes: [keys, answers, all], height } = flow(width, [
    { width: 210, height: 150, top: ABOVE }, { width: 210, height: 150, top: ABOVE, grow: 1.15 },
    { width: width - 70, height: 120, top: ABOVE }]);
  canvas.setAttribute("viewBox", `0 0 ${width} ${height}`);
  drawOverlaps(canvas, keys, found.overlaps, query);
  drawScores(canvas, answers, found.scores, query);
  drawAccuracy(canvas, all, found.correct, d_state, pairs);
  return caption(found, d_state, pairs, query);
}

/** A heading above a panel, and its legend below that. */
function heading(canvas, { left, top }, text, entries) {
  canvas.append(label(left - 50, top - ABOVE + 16, text, { anchor: "start" }));
  legend(canvas, { left: left - 50, top: top - ABOVE + 22, width: 0 }, entries);
}

function drawOverlaps(canvas, box, overlaps, query) {
  const keys = axes(canvas, { ...box, xlim: [0.2, MAX_PAIRS + 0.8], ylim: [-1.05, 1.05],
    xticks: [1, 16, 32, 48, 64], yticks: [-1, 0, 1], xlabel: "pair i (1 is the oldest)",
    ylabel: "⟨kᵢ, kⱼ⟩" });
  bars(keys, overlaps, (i) => (i === query - 1 ? "blue queried" : "red overlap"));
  keys.values(overlaps.map((_, i) => i + 1), overlaps, (i) =>
    `pair ${i + 1}: ${withMinus(overlaps[i], 2)}`);
  heading(canvas, box, `overlap of each key with key ${query}, the query`, keyMarks());
}

function drawScores(canvas, box, scores, query) {
  const own = query - 1;
  const other = argmax(scores, own);
  const limit = 1.08 * Math.max(1.2, ...scores.map(Math.abs));
  const answers = axes(canvas, { ...box, xlim: [0, ANSWERS + 1], ylim: [-limit, limit],
    xticks: [1, 32, 64, 96, 128], xlabel: "possible answer", ylabel: "score" });
  const { X, Y, add } = answers;
  const margin = scores[own] - scores[other];
  const [high, low] = [Math.max(scores[own], scores[other]), Math.min(scores[own], scores[other])];
  add(svg("rect", { class: `area ${margin > 0 ? "green" : "red"} margin`, "fill-opacity": 0.25,
                    x: box.left, y: Y(high), width: box.width, height: Y(low) - Y(high) }));
  bars(answers, scores, (i) => ({ [own]: "green", [other]: "red" })[i] ?? "grey score");
  add(disc(X(own + 1), Y(scores[own])), diamond(X(other + 1), Y(scores[other])));
  answers.values(scores.map((_, i) => i + 1), scores, (i) =>
    `answer ${i + 1}: ${withMinus(scores[i], 2)}`);
  heading(canvas, box, `scores for query ${query}: margin ${withMinus(margin, 2)}, `
    + `${margin > 0 ? "correct" : "incorrect"}`, answerMarks());
}

function drawAccuracy(canvas, box, correct, d_state, pairs) {
  const accuracy = correct.map((count, i) => (100 * count) / (i + 1));
  const all = axes(canvas, { ...box, xlim: [0.2, MAX_PAIRS + 0.8], ylim: [0, 105],
    xticks: [1, 16, 32, 48, 64], yticks: [0, 50, 100], xlabel: "pairs stored, n",
    ylabel: "accuracy, %" });
  all.add(svg("path", { class: "line grey exact", "stroke-dasharray": DASHED,
                        d: `M${all.X(d_state)} ${all.top}V${all.bottom}` }));
  all.line(accuracy.map((_, i) => i + 1), accuracy, "blue accuracy");
  all.add(svg("circle", { class: "area red current", cx: all.X(pairs),
                          cy: all.Y(accuracy[pairs - 1]), r: 6 }));
  all.values(accuracy.map((_, i) => i + 1), accuracy, (i) =>
    `${i + 1} pair${i ? "s" : ""}: ${correct[i]} correct`);
  heading(canvas, box, `accuracy over all queries, N = ${d_state}`,
    accuracyMarks(correct[pairs - 1], pairs));
}

export default {
  render({ model, el }) {
    const data = unpack(model.get("random_data"));
    const querySlider = slider(model, "query", { label: "query, pair j", min: 1, max: MAX_PAIRS,
                                                 step: 1 });
    let found;
    explorer({ model, el }, "recall", {
      traits: ["d_state", "pairs", "query"],
      task: {
        ask: "store at least 16 pairs, twice as many as N, and answer every query correctly.",
        done: "They interfere, but each correct answer still has the highest score.",
        reached: () => model.get("pairs") >= Math.max(16, 2 * model.get("d_state"))
          && found.correct[model.get("pairs") - 1] === model.get("pairs"),
        presets: { "room to spare": { d_state: 32, pairs: 16, query: 1 },
                   "crowded": { d_state: 8, pairs: 24, query: 1 },
                   "overfull": { d_state: 4, pairs: 64, query: 1 } },
      },
      controls: [
        slider(model, "d_state", { label: "state dimension N", min: 2, max: MAX_PAIRS, step: 1 }),
        // Only a pair that is stored can be queried.
        slider(model, "pairs", { label: "pairs stored, n", min: 1, max: MAX_PAIRS, step: 1,
          update: (pairs) => ({ query: Math.min(model.get("query"), pairs), pairs }) }),
        querySlider,
      ],
      draw: (canvas, width) => {
        const input = querySlider.querySelector("input");
        input.max = model.get("pairs");
        // Python sets the pairs first: until it has set the query, that may be too high.
        const shown = Math.min(model.get("query"), model.get("pairs"));
        input.value = shown;
        const [d_state, pairs] = [model.get("d_state"), model.get("pairs")];
        found = recall(data, d_state, pairs, shown);
        return draw(canvas, width, found, d_state, pairs, shown);
      },
    });
  },
};
