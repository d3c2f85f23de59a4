// See which entries of the mask each step of the chunked form computes with.

import { label, verticalLabel } from "./axes.js";
import { choices, slider } from "./controls.js";
import { svg } from "./elements.js";
import { explorer } from "./explorer.js";
import { formatGeneral } from "./numbers.js";
import { addValues } from "./values.js";

const LENGTH = 16;
const [EDGE, TOP, WIDEST] = [28, 30, 520];
const STEPS = ["the whole mask", "1: within chunks", "2: what each chunk adds",
  "3: from chunk to chunk", "4: what the entering state adds"];
const COLOURS = ["ink", "blue", "red", "purple", "green"];

/** Whether a step computes with the entry (t, s) of the mask, as lit_entries in Python. */
export function isLit(t, s, size, step) {
  if (s > t) return false;
  const [own, other] = [Math.floor(t / size), Math.floor(s / size)];
  const last = Math.floor((LENGTH - 1) / size);
  const endsChunk = (i) => (i + 1) % size === 0 && Math.floor(i / size) < last;
  return [true, own === other, own === other && endsChunk(t), endsChunk(t) && endsChunk(s),
    own > other][step];
}

export function caption(decay, size, step) {
  const chunks = Math.ceil(LENGTH / size);
  const steps = Array.from({ length: LENGTH }, (_, i) => i);
  const lit = steps.reduce((sum, t) => sum + steps.filter((s) => isLit(t, s, size, step)).length,
    0);
  const power = (exponent) => formatGeneral(decay ** exponent, 3);
  return [
    `Chunks of ${size}: ${chunks} in 16 steps. Of step 1, ${power(15)} is left at step 16.`,
    `Step 1, within chunks: ${lit} of 136 entries, all at once.`,
    `Step 2, what each chunk adds to the state: ${lit} weights, the least ${power(size - 1)}.`,
    `Step 3, from chunk to chunk: ${chunks - 1} to hand on, one after another. Over a chunk, `
      + `${power(size)} of the state is left.`,
    `Step 4, what the entering state adds: ${lit} of 136 entries, all at once.`,
  ][step];
}

/** What an entry of the mask says. */
function describe(t, s, decay) {
  if (s > t) return `step ${s + 1} comes after step ${t + 1}: 0`;
  return `of step ${s + 1}, ${formatGeneral(decay ** (t - s), 3)} is left at step ${t + 1}`;
}

function draw(canvas, room, decay, size, step) {
  const side = Math.min(WIDEST, room - EDGE - 2);
  const unit = side / LENGTH;
  const left = EDGE + (room - EDGE - side) / 2;
  canvas.setAttribute("viewBox", `0 0 ${room} ${TOP + side + 10}`);
  const square = (s, t, columns, rows, attributes) => svg("rect", {
    x: left + s * unit, y: TOP + t * unit, width: columns * unit, height: rows * unit,
    ...attributes });
  for (let t = 0; t < LENGTH; t++) {
    for (let s = 0; s < LENGTH; s++) {
      const lit = isLit(t, s, size, step);
      const strength = s > t ? 0 : decay ** (t - s);
      canvas.append(square(s, t, 1, 1, {
        class: `area entry ${lit ? `lit ${COLOURS[step]}` : "grey"}`, stroke: "var(--grid)",
        "fill-opacity": lit ? 0.15 + 0.7 * strength : 0.2 * strength }));
    }
  }
  for (let t = 0; t < LENGTH; t += size) {
    for (let s = 0; s <= t; s += size) {
      canvas.append(square(s, t, Math.min(size, LENGTH - s), Math.min(size, LENGTH - t),
        { class: "axis", "stroke-width": s === t ? 2.5 : 1 }));
    }
  }
  canvas.append(label(left + side / 2, TOP - 12, "input of step s →"),
    verticalLabel(left - 12, TOP + side / 2, "← output of step t"));
  addValues(canvas, {
    box: { left, top: TOP, width: side, height: side }, count: LENGTH ** 2, columns: LENGTH,
    at: (i) => [left + (i % LENGTH + 0.5) * unit, TOP + (Math.floor(i / LENGTH) + 0.5) * unit],
    text: (i) => describe(Math.floor(i / LENGTH), i % LENGTH, decay) });
  return caption(decay, size, step);
}

export default {
  render({ model, el }) {
    explorer({ model, el }, "duality", {
      traits: ["decay", "chunk_size", "step"], width: 290,
      task: {
        ask: "show step 4 with a chunk size that leaves it nothing to do.",
        done: "One chunk of all 16 steps is masked attention: no state is handed on.",
        reached: () => model.get("chunk_size") === LENGTH && model.get("step") === 4,
        presets: { "four chunks": { decay: 0.8, chunk_size: 4, step: 1 },
                   "the recurrence": { decay: 0.8, chunk_size: 1, step: 3 },
                   "linear attention": { decay: 1, chunk_size: 4, step: 0 } },
      },
      controls: [
        slider(model, "chunk_size", { label: "chunk size Q", min: 1, max: LENGTH, step: 1 }),
        slider(model, "decay", { label: "decay per step α", min: 0.5, max: 1, step: 0.01 }),
        choices(model, "step", { label: "show", options: [0, 1, 2, 3, 4],
                                 format: (step) => STEPS[step] }),
      ],
      draw: (canvas, width) => draw(canvas, width, model.get("decay"), model.get("chunk_size"),
        model.get("step")),
    });
  },
};
