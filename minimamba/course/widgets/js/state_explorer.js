// See the states of a trained model over a line of code, one layer and channel at a time. Python
// runs the model; here are the controls and the drawing.

import { axes, decades, label, tickText, ticks, verticalLabel } from "./axes.js";
import { slider, textField } from "./controls.js";
import { html, svg, uniqueId } from "./elements.js";
import { explorer } from "./explorer.js";

const MAX_LENGTH = 80;
const [WIDTH, HEIGHT] = [900, 730];
const ACROSS = { left: 66, width: 744 };
const VISIBLE = { "\n": "⏎", " ": "·" };

// matplotlib's colour maps, cividis from low to high and PuOr through white, linear between these.
const CIVIDIS = ["#00224e", "#002e6c", "#1e3a6f", "#35456c", "#47516c", "#575d6d", "#666970",
  "#757575", "#848279", "#948e77", "#a59c74", "#b7a96e", "#c8b866", "#dbc75a", "#eed649",
  "#fee838"];
const PUOR = ["#7f3b08", "#b35806", "#e08214", "#fdb863", "#fee0b6", "#f7f7f7", "#d8daeb",
  "#b2abd2", "#8073ac", "#542788", "#2d004b"];
const MISSING = 255;

const CHANNELS = { height: 184, rows: "channel", colours: CIVIDIS };
const COMPONENTS = { height: 112, rows: "state index n", colours: CIVIDIS };
const MAPS = {
  delta: { ...CHANNELS, top: 26, label: "Δ", limits: [1e-4, 1], log: true },
  norm: { ...CHANNELS, top: 226, label: "‖h‖ / maximum", limits: [0, 1] },
  decay: { ...COMPONENTS, top: 446, label: "decay exp(ΔA)", limits: [0, 1] },
  h: { ...COMPONENTS, top: 574, label: "h / maximum", limits: [-1, 1], colours: PUOR },
};

/** Remove characters that the model's picture has no column for. */
export function clean(text) {
  return text.replace(/[^\n -~]/gu, "").slice(0, MAX_LENGTH) || " ";
}

/** The colour of each level as a canvas stores a pixel; a missing value is transparent. */
function palette(colours) {
  const stops = colours.map((colour) => [1, 3, 5].map((start) =>
    parseInt(colour.slice(start, start + 2), 16)));
  const bytes = new Uint8ClampedArray(4 * (MISSING + 1));
  for (let level = 0; level < MISSING; level++) {
    const position = (level / (MISSING - 1)) * (colours.length - 1);
    const stop = Math.min(Math.floor(position), colours.length - 2);
    const colour = stops[stop].map((low, i) =>
      low + (position - stop) * (stops[stop + 1][i] - low));
    bytes.set([...colour, 255], 4 * level);
  }
  return new Uint32Array(bytes.buffer);
}

/** A bitmap in the place of its map. */
function bitmapFor({ top, height }) {
  const percent = (part, whole) => `${(100 * part) / whole}%`;
  return html("canvas", { style: `left: ${percent(ACROSS.left, WIDTH)}; `
    + `top: ${percent(top, HEIGHT)}; width: ${percent(ACROSS.width, WIDTH)}; `
    + `height: ${percent(height, HEIGHT)}` });
}

/** Paint levels, row by row, as blocks of pixels: a browser would blur single pixels. */
function paint(bitmap, levels, columns, height, colours) {
  const rows = levels.length / columns;
  const [blockWidth, blockHeight] = [Math.ceil(ACROSS.width / columns), Math.ceil(height / rows)];
  [bitmap.width, bitmap.height] = [blockWidth * columns, blockHeight * rows];
  const image = new ImageData(bitmap.width, bitmap.height);
  const pixels = new Uint32Array(image.data.buffer);
  for (let y = 0, i = 0; y < bitmap.height; y++) {
    const row = Math.floor(y / blockHeight) * columns;
    for (let column = 0; column < columns; column++, i += blockWidth) {
      pixels.fill(colours[levels[row + column]], i, i + blockWidth);
    }
  }
  bitmap.getContext("2d").putImageData(image, 0, 0);
}

/** The colour scale beside a map, from low to high. */
function colourBar(canvas, { top, height, label: text, limits, log, colours }) {
  const [left, width] = [ACROSS.left + ACROSS.width + 12, 14];
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
  canvas.append(verticalLabel(WIDTH - 8, (top + bottom) / 2, text));
}

function draw(canvas, bitmaps, { text, layer, channel, ...maps }) {
  const columns = text.length;
  const heading = (y, what) => canvas.append(label(ACROSS.left, y, `layer ${layer}, ${what}`,
    { anchor: "start" }));
  heading(MAPS.delta.top - 8, "all channels");
  heading(MAPS.decay.top - 8, `channel ${channel}`);
  let plot;
  Object.entries(MAPS).forEach(([name, map], i) => {
    const { buffer, byteOffset, byteLength } = maps[name];
    const rows = byteLength / columns;
    paint(bitmaps[i], new Uint8Array(buffer, byteOffset, byteLength), columns, map.height,
      palette(map.colours));
    plot = axes(canvas, { ...ACROSS, top: map.top, height: map.height, ylabel: map.rows,
      xlim: [-0.5, columns - 0.5], ylim: [rows - 0.5, -0.5], xticks: [], yticks: [] });
    for (const row of ticks([0, rows - 1], 4)) {
      canvas.append(label(ACROSS.left - 6, plot.Y(row) + 4, row, { class: "tick", anchor: "end" }));
    }
    if (map.rows === "channel") {
      plot.add(svg("path", { class: "line red channel",
        d: `M${ACROSS.left} ${plot.Y(channel)}h${ACROSS.width}` }));
    }
    colourBar(canvas, map);
  });
  drawCharacters(canvas, text, plot);
}

/** The characters of the text under their columns. */
function drawCharacters(canvas, text, { X, bottom }) {
  [...text].forEach((character, i) => {
    const element = label(X(i), bottom + 14, VISIBLE[character] ?? character,
      { class: "tick character" });
    element.style.fontFamily = "ui-monospace, monospace";
    canvas.append(element);
  });
  canvas.append(label(ACROSS.left + ACROSS.width / 2, bottom + 34, "byte"));
}

export default {
  render({ model, el }) {
    const last = model.get("last");
    const bitmaps = Object.values(MAPS).map(bitmapFor);
    explorer({ model, el }, "state", {
      // Not the settings: Python computes the maps a little later, and sends the caption with them.
      traits: ["maps"], width: WIDTH, height: HEIGHT, bitmaps,
      controls: [
        textField(model, "text", { label: "text", rows: 2, clean, hint: `up to ${MAX_LENGTH}` }),
        slider(model, "layer", { label: "layer", min: 0, max: last.layer, step: 1 }),
        slider(model, "channel", { label: "channel", min: 0, max: last.channel, step: 1 }),
      ],
      draw: (canvas) => {
        draw(canvas, bitmaps, model.get("maps"));
        return model.get("caption");
      },
    });
  },
};
