// Watch the states of a trained model over a line of code, a layer and a channel at a time.

const LONGEST = 80;
const [WIDTH, HEIGHT] = [900, 730];
const ACROSS = { left: 66, width: 744 };
const SHOWN = { "\n": "⏎", " ": "·" };  // what can't be seen

// matplotlib's colours, cividis from low to high and PuOr through white; linear between these.
const CIVIDIS = ["#00224e", "#002e6c", "#1e3a6f", "#35456c", "#47516c", "#575d6d", "#666970",
  "#757575", "#848279", "#948e77", "#a59c74", "#b7a96e", "#c8b866", "#dbc75a", "#eed649",
  "#fee838"];
const PUOR = ["#7f3b08", "#b35806", "#e08214", "#fdb863", "#fee0b6", "#f7f7f7", "#d8daeb",
  "#b2abd2", "#8073ac", "#542788", "#2d004b"];
const MISSING = 255;

const CHANNELS = { height: 184, rows: "channel", colours: CIVIDIS };
const NUMBERS = { height: 112, rows: "number n", colours: CIVIDIS };
const MAPS = {
  delta: { ...CHANNELS, top: 26, label: "Δ", limits: [1e-4, 1], log: true },
  norm: { ...CHANNELS, top: 226, label: "norm, of its largest", limits: [0, 1] },
  decay: { ...NUMBERS, top: 446, label: "kept, exp(ΔA)", limits: [0, 1] },
  h: { ...NUMBERS, top: 574, label: "h, of its largest", limits: [-1, 1], colours: PUOR },
};

/** What the picture has no column for is left out. */
export function clean(text) {
  return text.replace(/[^\n -~]/gu, "").slice(0, LONGEST) || " ";
}

/** The colour of each level, as the pixels of a canvas hold it; what is missing has none. */
function palette(colours) {
  const parts = colours.map((colour) => [1, 3, 5].map((at) =>
    parseInt(colour.slice(at, at + 2), 16)));
  const bytes = new Uint8ClampedArray(4 * (MISSING + 1));
  for (let level = 0; level < MISSING; level++) {
    const place = (level / (MISSING - 1)) * (colours.length - 1);
    const at = Math.min(Math.floor(place), colours.length - 2);
    const between = parts[at].map((low, i) => low + (place - at) * (parts[at + 1][i] - low));
    bytes.set([...between, 255], 4 * level);
  }
  return new Uint32Array(bytes.buffer);
}

/** A bitmap that lies where its map does. */
function placed({ top, height }) {
  const share = (part, whole) => `${(100 * part) / whole}%`;
  return html("canvas", { style: `left: ${share(ACROSS.left, WIDTH)}; top: ${share(top, HEIGHT)}; `
    + `width: ${share(ACROSS.width, WIDTH)}; height: ${share(height, HEIGHT)}` });
}

/** Levels, row by row, as blocks of a bitmap: large ones, as a browser blurs what it enlarges. */
function paint(bitmap, levels, columns, height, colours) {
  const rows = levels.length / columns;
  const [wide, tall] = [Math.ceil(ACROSS.width / columns), Math.ceil(height / rows)];
  [bitmap.width, bitmap.height] = [wide * columns, tall * rows];
  const image = new ImageData(bitmap.width, bitmap.height);
  const pixels = new Uint32Array(image.data.buffer);
  for (let y = 0, i = 0; y < bitmap.height; y++) {
    const row = Math.floor(y / tall) * columns;
    for (let column = 0; column < columns; column++, i += wide) {
      pixels.fill(colours[levels[row + column]], i, i + wide);
    }
  }
  bitmap.getContext("2d").putImageData(image, 0, 0);
}

/** The colours of a map beside it, from low to high. */
function colourBar(canvas, { top, height, label, limits, log, colours }) {
  const [left, width] = [ACROSS.left + ACROSS.width + 12, 14];
  const name = own("colours");
  const { Y, bottom } = axes(canvas, { left, width, top, height, xlim: [0, 1], ylim: limits,
    ylog: log, xticks: [], yticks: [] });
  canvas.append(
    svg("linearGradient", { id: name, x1: 0, x2: 0, y1: 1, y2: 0 }, ...colours.map((colour, i) =>
      svg("stop", { offset: i / (colours.length - 1), "stop-color": colour }))),
    svg("rect", { x: left, y: top, width, height, fill: `url(#${name})` }));
  for (const value of log ? decades(limits) : ticks(limits, 4)) {
    canvas.append(svg("path", { class: "axis", d: `M${left + width} ${Y(value)}h4` }),
      words(left + width + 7, Y(value) + 4, tickWords(value, log),
        { class: "tick", anchor: "start" }));
  }
  const said = words(0, 0, label);
  said.setAttribute("transform", `translate(${WIDTH - 8} ${(top + bottom) / 2}) rotate(-90)`);
  canvas.append(said);
}

function draw(canvas, bitmaps, { text, layer, channel, ...maps }) {
  const columns = text.length;
  const say = (y, what) => canvas.append(words(ACROSS.left, y, `layer ${layer}, ${what}`,
    { anchor: "start" }));
  say(MAPS.delta.top - 8, "all channels");
  say(MAPS.decay.top - 8, `channel ${channel}`);
  let plot;
  Object.entries(MAPS).forEach(([name, map], i) => {
    const { buffer, byteOffset, byteLength } = maps[name];
    const rows = byteLength / columns;
    paint(bitmaps[i], new Uint8Array(buffer, byteOffset, byteLength), columns, map.height,
      palette(map.colours));
    plot = axes(canvas, { ...ACROSS, top: map.top, height: map.height, ylabel: map.rows,
      xlim: [-0.5, columns - 0.5], ylim: [rows - 0.5, -0.5], xticks: [], yticks: [] });
    for (const row of ticks([0, rows - 1], 4)) {
      canvas.append(words(ACROSS.left - 6, plot.Y(row) + 4, row, { class: "tick", anchor: "end" }));
    }
    if (map.rows === "channel") {
      plot.add(svg("path", { class: "line red channel",
        d: `M${ACROSS.left} ${plot.Y(channel)}h${ACROSS.width}` }));
    }
    colourBar(canvas, map);
  });
  [...text].forEach((sign, i) => {
    const letter = words(plot.X(i), plot.bottom + 14, SHOWN[sign] ?? sign,
      { class: "tick letter" });
    letter.style.fontFamily = "ui-monospace, monospace";
    canvas.append(letter);
  });
  canvas.append(words(ACROSS.left + ACROSS.width / 2, plot.bottom + 34, "byte"));
}

export default {
  render({ model, el }) {
    const most = model.get("most");
    const bitmaps = Object.values(MAPS).map(placed);
    explorer({ model, el }, "state", {
      // Not with the settings: what Python finds for them comes a little later, caption and all.
      traits: ["maps"], width: WIDTH, height: HEIGHT, bitmaps,
      controls: [
        typed(model, "text", { label: "text", rows: 2, clean, read: `up to ${LONGEST}` }),
        slider(model, "layer", { label: "layer", min: 0, max: most.layer, step: 1 }),
        slider(model, "channel", { label: "channel", min: 0, max: most.channel, step: 1 }),
      ],
      draw: (canvas) => {
        draw(canvas, bitmaps, model.get("maps"));
        return model.get("caption");
      },
    });
  },
};
