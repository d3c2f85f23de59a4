// Fill a memory made of products and see pairs get in each other's way.

const [MOST, KINDS, CHANNELS] = [64, 128, 128];

const bytes = (text) => Uint8Array.from(atob(text), (sign) => sign.charCodeAt(0));
const dot = (a, b, size) => {
  let sum = 0;
  for (let i = 0; i < size; i++) sum += a[i] * b[i];
  return sum;
};

/** A byte is sent for each number of a key, a bit for each of a code: the keys, and how like each
 * value is to each possible answer. */
export function unpack({ keys, codes }) {
  const [numbers, bits] = [Int8Array.from(bytes(keys)), bytes(codes)];
  const code = (kind) => Int8Array.from({ length: CHANNELS }, (_, channel) => {
    const place = kind * CHANNELS + channel;
    return (bits[place >> 3] >> (7 - (place & 7))) & 1 ? 1 : -1;
  });
  const values = Array.from({ length: KINDS }, (_, kind) => code(kind));
  return {
    keys: Array.from({ length: MOST }, (_, i) => numbers.subarray(i * MOST, (i + 1) * MOST)),
    alike: values.slice(0, MOST).map((value) =>
      Float64Array.from(values, (other) => dot(value, other, CHANNELS) / CHANNELS)),
  };
}

/** The largest of the scores, or the largest but for one. */
function best(scores, without = -1) {
  let at = without === 0 ? 1 : 0;
  for (let i = at + 1; i < scores.length; i++) if (i !== without && scores[i] > scores[at]) at = i;
  return at;
}

/**
 * What is read for key j of n is Σ vᵢ ⟨kᵢ, kⱼ⟩, and an answer's score is its likeness to that.
 * Gives the overlaps and scores of the pair that is asked for (from 1), and how many pairs are
 * right when there are 1, 2, … of them.
 */
export function recall({ keys, alike }, numbers, pairs, asked) {
  const lengths = keys.map((key) => Math.sqrt(dot(key, key, numbers)));
  const overlaps = keys.map((one, i) => Float64Array.from(keys, (other, j) =>
    dot(one, other, numbers) / (lengths[i] * lengths[j])));
  const scores = keys.map(() => new Float64Array(KINDS));
  const right = [];
  let found;
  for (let n = 1; n <= MOST; n++) {
    scores.forEach((row, j) => {
      const overlap = overlaps[j][n - 1];
      for (let kind = 0; kind < KINDS; kind++) row[kind] += overlap * alike[n - 1][kind];
    });
    right.push(scores.slice(0, n).filter((row, j) => best(row) === j).length);
    if (n === pairs) found = Array.from(scores[asked - 1]);
  }
  return { overlaps: Array.from(overlaps[asked - 1].slice(0, pairs)), scores: found, right };
}

export function caption({ scores, right }, numbers, pairs, asked) {
  const other = best(scores, asked - 1);
  const margin = scores[asked - 1] - scores[other];
  const fate = margin > 0 ? `right, by ${margin.toFixed(2)}`
    : `wrong, as answer ${other + 1} is ahead by ${(-margin).toFixed(2)}`;
  return `${numbers} numbers a channel, ${pairs} pair${pairs > 1 ? "s" : ""}`
    + `${pairs > numbers ? ", more than can be exact" : ""}. `
    + `Pair ${asked} is answered ${fate}; of all pairs ${right[pairs - 1]} of ${pairs} are `
    + "answered right.";
}

/** Bars that stand on zero or hang from it. */
function bars({ X, Y, add }, heights, look) {
  const width = 0.8 * (X(1) - X(0));
  heights.forEach((height, i) => add(svg("rect", { class: `area ${look(i)}`, width,
    x: X(i + 1) - width / 2, y: Y(Math.max(0, height)), height: Math.abs(Y(height) - Y(0)) })));
}

function draw(canvas, memory, numbers, pairs, asked) {
  const found = recall(memory, numbers, pairs, asked);
  const { overlaps, scores, right } = found;
  const [own, other] = [asked - 1, best(scores, asked - 1)];
  const row = { top: 54, height: 160 };
  const say = (x, y, text) => canvas.append(words(x, y, text, { anchor: "start" }));

  const keys = axes(canvas, { ...row, left: 62, width: 348, xlim: [0.2, MOST + 0.8],
    ylim: [-1.05, 1.05], xticks: [1, 16, 32, 48, 64], yticks: [-1, 0, 1], xlabel: "pair i (1 is the oldest)",
    ylabel: "⟨kᵢ, kⱼ⟩" });
  bars(keys, overlaps, (i) => (i === own ? "blue own" : "red overlap"));
  say(62, 16, `overlap of each key with key ${asked}, which is asked for`);
  canvas.append(svg("rect", { class: "area blue", x: 62, y: 27, width: 11, height: 11 }),
    svg("rect", { class: "area red", x: 200, y: 27, width: 11, height: 11 }));
  say(79, 37, "its own, always 1");
  say(217, 37, "the others': interference");

  const reach = 1.08 * Math.max(1.2, ...scores.map(Math.abs));
  const answers = axes(canvas, { ...row, left: 482, width: 400, xlim: [0, KINDS + 1],
    ylim: [-reach, reach], xticks: [1, 32, 64, 96, 128], xlabel: "possible answer",
    ylabel: "score" });
  const { X, Y, add } = answers;
  const margin = scores[own] - scores[other];
  const [high, low] = [Math.max(scores[own], scores[other]), Math.min(scores[own], scores[other])];
  add(svg("rect", { class: `area ${margin > 0 ? "green" : "red"} margin`, "fill-opacity": 0.25,
                    x: answers.left, y: Y(high), width: 400, height: Y(low) - Y(high) }));
  bars(answers, scores, (i) => ({ [own]: "green", [other]: "red" })[i] ?? "grey score");
  add(disc(X(own + 1), Y(scores[own])), diamond(X(other + 1), Y(scores[other])));
  say(482, 16, `scores of the answers for key ${asked}: margin `
    + `${margin.toFixed(2).replace("-", "−")}, ${margin > 0 ? "right" : "wrong"}`);
  canvas.append(disc(488, 33), diamond(598, 33));
  say(500, 37, "right answer");
  say(610, 37, "best wrong one");

  const all = axes(canvas, { left: 62, top: 304, width: 820, height: 120, xlim: [0.2, MOST + 0.8],
    ylim: [0, 105], xticks: [1, 8, 16, 24, 32, 40, 48, 56, 64], yticks: [0, 50, 100],
    xlabel: "pairs in the memory, n", ylabel: "right, %" });
  const shares = right.map((count, i) => (100 * count) / (i + 1));
  all.add(svg("path", { class: "line grey exact", "stroke-dasharray": "5 4",
                        d: `M${all.X(numbers)} ${all.top}V${all.bottom}` }));
  all.line(shares.map((_, i) => i + 1), shares, "blue shares");
  all.add(svg("circle", { class: "area red now", cx: all.X(pairs), cy: all.Y(shares[pairs - 1]),
                          r: 6 }));
  say(62, 286, `right answers for all pairs, with ${numbers} numbers a channel`);
  canvas.append(svg("circle", { class: "area red", cx: 530, cy: 282, r: 5 }),
    svg("path", { class: "line grey", "stroke-dasharray": "5 4", d: "M666 282h24" }));
  say(542, 286, `now: ${right[pairs - 1]} of ${pairs}`);
  say(697, 286, "n = N: exactness ends here");
  return caption(found, numbers, pairs, asked);
}

const disc = (cx, cy) => svg("circle", { class: "area green right", cx, cy, r: 5 });
const diamond = (x, y) => svg("path", { class: "area red wrong",
  d: `M${x} ${y - 6}l6 6l-6 6l-6 -6z` });

export default {
  render({ model, el }) {
    const memory = unpack(model.get("drawn"));
    const asked = slider(model, "asked", { label: "pair asked for, j", min: 1, max: MOST, step: 1 });
    explorer({ model, el }, "recall", {
      traits: ["numbers", "pairs", "asked"], width: 900, height: 466,
      controls: [
        slider(model, "numbers", { label: "numbers a channel, N", min: 2, max: MOST, step: 1 }),
        // A pair that is not there can't be asked for.
        slider(model, "pairs", { label: "pairs, n", min: 1, max: MOST, step: 1,
          told: (pairs) => ({ asked: Math.min(model.get("asked"), pairs), pairs }) }),
        asked,
      ],
      draw: (canvas) => {
        const input = asked.querySelector("input");
        input.max = model.get("pairs");
        // Python sets the pairs first: until it has set the one asked for, that may be too high.
        const shown = Math.min(model.get("asked"), model.get("pairs"));
        input.value = shown;
        return draw(canvas, memory, model.get("numbers"), model.get("pairs"), shown);
      },
    });
  },
};
