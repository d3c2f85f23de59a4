// Colour maps, and levels painted with them on canvas elements.

// matplotlib's colour maps, cividis from low to high and PuOr through white, linear between these.
export const CIVIDIS = ["#00224e", "#002e6c", "#1e3a6f", "#35456c", "#47516c", "#575d6d", "#666970",
  "#757575", "#848279", "#948e77", "#a59c74", "#b7a96e", "#c8b866", "#dbc75a", "#eed649",
  "#fee838"];
export const PUOR = ["#7f3b08", "#b35806", "#e08214", "#fdb863", "#fee0b6", "#f7f7f7", "#d8daeb",
  "#b2abd2", "#8073ac", "#542788", "#2d004b"];
export const MISSING = 255;

/** The colour of each level as a canvas stores a pixel; a missing value is transparent. */
export function palette(colours) {
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

/** Paint levels, row by row, as blocks of pixels: a browser would blur single pixels. */
export function paint(bitmap, levels, columns, across, height, colours) {
  const rows = levels.length / columns;
  const [blockWidth, blockHeight] = [Math.ceil(across / columns), Math.ceil(height / rows)];
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
