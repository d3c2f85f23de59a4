// See the states of a trained model over a line of code, one layer and channel at a time. Python
// runs the model; here are the controls and the drawing.

import { axes, decades, label, tickText, ticks, verticalLabel } from "./axes.js";
import { CIVIDIS, MISSING, paint, palette, PUOR } from "./colours.js";
import { setTraits, slider, textField } from "./controls.js";
import { html, svg, uniqueId } from "./elements.js";
import { drag, explorer, handle } from "./explorer.js";
import { withMinus } from "./numbers.js";
import { addValues } from "./values.js";

const MAX_LENGTH = 80;
const HEIGHT = 776;
// Shown where Jupyter says that the kernel is not the one that made the explorer.
const WITHOUT_PYTHON = "The model isn't running: run the first cell, then this one.";
const [LEFT, RIGHT, COLUMN] = [62, 92, 7.5];
const VISIBLE = { "\n": "⏎", " ": "·" };

const CHANNELS = { height: 184, rows: "channel", colours: CIVIDIS };
const COMPONENTS = { height: 112, rows: "state index n", colours: CIVIDIS };
// The headings are how to read the maps.
const MAPS = {
  delta: { ...CHANNELS, top: 26, label: "Δ", limits: [1e-4, 1], log: true,
           heading: ({ layer }) => `layer ${layer}, Δ of all channels: bright = writes, forgets` },
  norm: { ...CHANNELS, top: 238, label: "‖h‖ / maximum", limits: [0, 1],
          heading: ({ layer }) => `layer ${layer}, their states: bright = large` },
  decay: { ...COMPONENTS, top: 464, label: "decay exp(ΔA)", limits: [0, 1],
           heading: ({ channel }) => `channel ${channel}, its decays: bright = keeps` },
  h: { ...COMPONENTS, top: 604, label: "h / maximum", limits: [-1, 1], colours: PUOR,
       heading: ({ channel }) => `channel ${channel}, its state: the two signs` },
};
const CHANNEL_MAPS = Object.values(MAPS).slice(0, 2);

/** Remove characters that the model's picture has no column for. */
export function clean(text) {
  return text.replace(/[^\n -~]/gu, "").slice(0, MAX_LENGTH) || " ";
}

/** Put a bitmap where its map is, in a drawing that may be scaled when it is printed. */
function place(bitmap, { top, height }, width, across) {
  const percent = (part, whole) => `${(100 * part) / whole}%`;
  Object.assign(bitmap.style, { left: percent(LEFT, width), width: percent(across, width),
    top: percent(top, HEIGHT), height: percent(height, HEIGHT) });
}

/** The colour scale beside a map, from low to high. */
function colourBar(canvas, right, { top, height, label: text, limits, log, colours }) {
  const [left, width] = [right + 12, 14];
  const gradient = uniqueId("colours");
  const { Y, bottom } = axes(canvas, { left, width, top, height, xlim: [0, 1], ylim: limits,
    ylog: log, xticks: [], yticks: [] });
  canvas.append(
    svg("linearGradient", { id: gradient, x1: 0, x2: 0, y1: 1, y2: 0 },
      ...colours.map((colour, i) => svg("stop", { offset: i / (colours.length - 1),
                                                  "stop-color": colour }))),
    svg("rect", { x: left, y: top, width, height, fill: `url(#${gradient})` }));
  for (const value of log ? decades(limits) : ticks(limits, 4)) {
    canvas.append(svg("path", { class: "axis", d: `M${left + width} ${Y(value)}h4` }),
      label(left + width + 7, Y(value) + 4, tickText(value, log),
        { class: "tick", anchor: "start" }));
  }
  canvas.append(verticalLabel(right + RIGHT - 12, (top + bottom) / 2, text));
}

/** The number that a level stands for; levels have the resolution of a colour. */
function numberAt(level, { limits: [low, high], log }) {
  if (level === MISSING) return "not a number";
  const fraction = level / (MISSING - 1);
  const value = log ? low * (high / low) ** fraction : low + fraction * (high - low);
  return `about ${withMinus(Number(value.toPrecision(2)))}`;
}

const levelsOf = ({ buffer, byteOffset, byteLength }) =>
  new Uint8Array(buffer, byteOffset, byteLength);

function draw(canvas, room, bitmaps, { text, layer, channel, ...maps }) {
  const columns = text.length;
  const width = Math.max(room, LEFT + RIGHT + COLUMN * columns);
  const across = width - LEFT - RIGHT;
  canvas.setAttribute("viewBox", `0 0 ${width} ${HEIGHT}`);
  let plot;
  Object.entries(MAPS).forEach(([name, map], i) => {
    const levels = levelsOf(maps[name]);
    const rows = levels.length / columns;
    place(bitmaps[i], map, width, across);
    paint(bitmaps[i], levels, columns, across, map.height, palette(map.colours));
    canvas.append(label(LEFT, map.top - 8, map.heading({ layer, channel }), { anchor: "start" }));
    plot = axes(canvas, { left: LEFT, width: across, top: map.top, height: map.height,
      ylabel: map.rows, xlim: [-0.5, columns - 0.5], ylim: [rows - 0.5, -0.5], xticks: [],
      yticks: [] });
    for (const row of ticks([0, rows - 1], 4)) {
      canvas.append(label(LEFT - 6, plot.Y(row) + 4, row, { class: "tick", anchor: "end" }));
    }
    if (CHANNEL_MAPS.includes(map)) {
      plot.add(svg("path", { class: "line red channel",
        d: `M${LEFT} ${plot.Y(channel)}h${across}` }));
      canvas.append(svg("rect", { class: "drag-area", x: LEFT, y: map.top, width: across,
                                  height: map.height }),
        handle(LEFT + across, plot.Y(channel), "↕"));
    }
    colourBar(canvas, LEFT + across, map);
    readMap(canvas, plot, map, text, levels);
  });
  drawCharacters(canvas, text, plot);
}

/** Let the numbers of a map be read; a line through all maps shows the byte. */
function readMap(canvas, { X, Y, ...box }, map, text, levels) {
  const columns = text.length;
  addValues(canvas, { box, columns, count: levels.length,
    at: (i) => [X(i % columns), Y(Math.floor(i / columns))],
    text: (i) => `byte ${i % columns} ${VISIBLE[text[i % columns]] ?? text[i % columns]}, `
      + `${map.rows} ${Math.floor(i / columns)}: ${numberAt(levels[i], map)}`,
    also: (i) => [svg("path", { class: "line red byte", "stroke-dasharray": "2 3",
      d: `M${X(i % columns)} ${MAPS.delta.top}V${MAPS.h.top + MAPS.h.height}` })] });
}

/** The characters of the text under their columns. */
function drawCharacters(canvas, text, { X, bottom, left, width }) {
  [...text].forEach((character, i) => {
    const element = label(X(i), bottom + 14, VISIBLE[character] ?? character,
      { class: "tick character" });
    element.style.fontFamily = "ui-monospace, monospace";
    canvas.append(element);
  });
  canvas.append(label(left + width / 2, bottom + 34, "byte"));
}

/** Whether the channel takes its longest step at a quotation mark. */
export function isLongestAtQuote({ text, channel, delta }) {
  const steps = levelsOf(delta).subarray(text.length * channel, text.length * (channel + 1));
  return "\"'".includes(text[steps.indexOf(Math.max(...steps))]);
}

/** The channel at a height of the canvas; null where no map of channels is. */
function channelAt(y, channels) {
  const map = CHANNEL_MAPS.find(({ top, height }) => y >= top && y <= top + height);
  if (!map) return null;
  return (py) => Math.max(0, Math.min(channels - 1,
    Math.floor((channels * (py - map.top)) / map.height)));
}

export default {
  render({ model, el }) {
    const last = model.get("last");
    const bitmaps = Object.values(MAPS).map(() => html("canvas"));
    const string = '    names = ["first one", x]  # and\n';
    const canvas = explorer({ model, el }, "state", {
      // Not the settings: Python computes the maps a little later, and sends the caption with them.
      traits: ["maps"], settings: ["text", "layer", "channel"], bitmaps,
      task: {
        ask: "find a channel whose Δ is largest at a quotation mark. Drag over the maps.",
        done: "Few channels do that: it reacts to the beginning or end of a string.",
        reached: () => isLongestAtQuote(model.get("maps")),
        presets: {
          "a string": { text: string, layer: 0, channel: 0 },
          "a comment": { text: "    for name in names:  # one by one\n", layer: 0, channel: 0 },
          "a definition": { text: "def area(width, height):\n", layer: last.layer, channel: 0 },
        },
      },
      controls: [
        textField(model, "text", { label: "text", rows: 2, clean, hint: `up to ${MAX_LENGTH}` }),
        slider(model, "layer", { label: "layer", min: 0, max: last.layer, step: 1 }),
        slider(model, "channel", { label: "channel", min: 0, max: last.channel, step: 1 }),
        html("p", { class: "without-python" }, WITHOUT_PYTHON),
      ],
      draw: (svgElement, width) => {
        draw(svgElement, width, bitmaps, model.get("maps"));
        return model.get("caption");
      },
    });
    drag(canvas, (x, y) => {
      const at = x >= LEFT - 12 && channelAt(y, last.channel + 1);
      return at ? (px, py) => setTraits(model, { channel: at(py) }) : null;
    });
  },
};
