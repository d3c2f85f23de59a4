// Where the panels of a drawing stand: beside each other while they fit, else below each other.

/**
 * Lay out panels from left to right, in a new row where the width is used up.
 *
 * A panel is { width, height, left, right, top, bottom, grow }: the least width of its plot, the
 * plot's height, the room for labels around it, and its share of the width that a row has left. The
 * result has the plots' `boxes`, as `axes` takes them, and the `height` of all rows.
 */
export function flow(width, panels) {
  const boxes = [];
  let height = 0;
  for (const row of rows(width, panels.map((panel) => ({ ...ROOM, ...panel })))) {
    const spare = Math.max(0, width - total(row));
    const shares = row.reduce((sum, { grow }) => sum + grow, 0) || 1;
    let x = 0;
    for (const panel of row) {
      const wider = panel.width + (spare * panel.grow) / shares;
      boxes.push({ left: x + panel.left, top: height + panel.top, width: wider,
                   height: panel.height });
      x += panel.left + wider + panel.right;
    }
    height += Math.max(...row.map(({ top, height: own, bottom }) => top + own + bottom));
  }
  return { boxes, height };
}

const ROOM = { left: 56, right: 14, top: 28, bottom: 42, grow: 1 };

const total = (row) => row.reduce((sum, { left, width, right }) => sum + left + width + right, 0);

/** The panels of each row. */
function rows(width, panels) {
  const found = [];
  for (const panel of panels) {
    const row = found[found.length - 1];
    if (row && total([...row, panel]) <= width + 0.5) row.push(panel);
    else found.push([panel]);
  }
  return found;
}

/** Whether a drawing has only the width of a phone, or of a page at 200 % beside a sidebar. */
export const isNarrow = (width) => width < 520;
