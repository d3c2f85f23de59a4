// The look of every explorer: one colour for light pages and one for dark ones. Which page it is,
// JupyterLab, VS Code and the course's site say by an attribute; elsewhere the system's setting
// counts.
export const STYLE = `
.minimamba-explorer {
  color-scheme: light dark;
  --ground: light-dark(#ffffff, #15181c); --ink: light-dark(#222222, #e6e6e6);
  --soft: light-dark(#5a5a5a, #b4b4b4); --grid: light-dark(#dddddd, #3a3f45);
  --blue: light-dark(#0072b2, #56b4e9); --red: light-dark(#d55e00, #ff8a3d);
  --green: light-dark(#009e73, #2fc79a); --sky: light-dark(#bfe3f8, #1f4d68);
  --purple: light-dark(#a8527f, #e09cc2); --grey: light-dark(#888888, #8d9299);
  box-sizing: border-box; max-width: 920px; padding: 10px; border-radius: 6px;
  background: var(--ground); color: var(--ink);
  font: 14px/1.4 var(--jp-ui-font-family, system-ui, sans-serif);
}
[data-jp-theme-light="true"] .minimamba-explorer, .vscode-light .minimamba-explorer,
.vscode-high-contrast-light .minimamba-explorer,
[data-theme="light"] .minimamba-explorer { color-scheme: light; }
[data-jp-theme-light="false"] .minimamba-explorer, .vscode-dark .minimamba-explorer,
.vscode-high-contrast:not(.vscode-high-contrast-light) .minimamba-explorer,
[data-theme="dark"] .minimamba-explorer { color-scheme: dark; }
@media print { .minimamba-explorer { color-scheme: light !important; } }
.minimamba-explorer .row {
  display: grid; grid-template-columns: 11.5em minmax(8em, 26em) 7em; gap: 0 0.8em;
  align-items: center; min-height: 1.9em; margin: 0; padding: 0; border: 0;
}
.minimamba-explorer input[type=range] { width: 100%; margin: 0; accent-color: var(--blue); }
.minimamba-explorer :is(input[type=text], textarea) {
  width: 100%; box-sizing: border-box; font: 14px/1.4 ui-monospace, monospace;
}
.minimamba-explorer textarea { display: block; margin: 2px 0; resize: vertical; }
.minimamba-explorer output { font-variant-numeric: tabular-nums; }
.minimamba-explorer .choices { display: flex; flex-wrap: wrap; gap: 0 1.2em; grid-column: 2 / 4; }
.minimamba-explorer .choices label { display: flex; align-items: center; gap: 0.35em; }
.minimamba-explorer input[type=radio] { margin: 0; accent-color: var(--blue); }
.minimamba-explorer :is(input, textarea):focus-visible {
  outline: 2px solid var(--blue); outline-offset: 3px;
}
.minimamba-explorer svg { display: block; width: 100%; height: auto; position: relative; }
.minimamba-explorer .picture { position: relative; margin-top: 6px; }
.minimamba-explorer .picture canvas { position: absolute; }
.minimamba-explorer img { display: block; max-width: 100%; height: auto; margin-top: 6px; }
.minimamba-explorer text { fill: var(--ink); font-size: 12.5px; }
.minimamba-explorer text.tick { fill: var(--soft); font-size: 11.5px; }
.minimamba-explorer .axis { stroke: var(--ink); fill: none; }
.minimamba-explorer .grid { stroke: var(--grid); fill: none; }
.minimamba-explorer .line { stroke: var(--colour); stroke-width: 1.8; fill: none; }
.minimamba-explorer .area { fill: var(--colour); }
.minimamba-explorer .blue { --colour: var(--blue); }
.minimamba-explorer .red { --colour: var(--red); }
.minimamba-explorer .green { --colour: var(--green); }
.minimamba-explorer .sky { --colour: var(--sky); }
.minimamba-explorer .purple { --colour: var(--purple); }
.minimamba-explorer .grey { --colour: var(--grey); }
.minimamba-explorer .ink { --colour: var(--ink); }
.minimamba-explorer .drag-area { fill: transparent; cursor: crosshair; touch-action: none; }
.minimamba-explorer .caption { margin: 6px 0 0; }
.minimamba-explorer .message { margin: 4px 0; color: var(--red); }
.minimamba-explorer .message:empty { display: none; }
@media (max-width: 520px) {
  .minimamba-explorer .row { grid-template-columns: 1fr auto; }
  .minimamba-explorer .row > :first-child, .minimamba-explorer .choices { grid-column: 1 / 3; }
}`;
