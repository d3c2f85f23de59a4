// The look of every explorer: one colour for light pages and one for dark ones. Which page it is,
// JupyterLab, VS Code and the course's site say by an attribute; elsewhere the system's setting
// counts. An explorer is laid out by its own width, whatever is beside it.
export const STYLE = `
.minimamba-explorer {
  color-scheme: light dark;
  --ground: light-dark(#ffffff, #15181c); --ink: light-dark(#222222, #e6e6e6);
  --soft: light-dark(#5a5a5a, #b4b4b4); --grid: light-dark(#dddddd, #3a3f45);
  --blue: light-dark(#0072b2, #56b4e9); --red: light-dark(#d55e00, #ff8a3d);
  --green: light-dark(#009e73, #2fc79a); --sky: light-dark(#bfe3f8, #1f4d68);
  --purple: light-dark(#a8527f, #e09cc2); --grey: light-dark(#888888, #8d9299);
  --done: light-dark(#007a58, #2fc79a);
  container: minimamba-explorer / inline-size; position: relative;
  box-sizing: border-box; width: 100%; max-width: 920px; padding: 10px; border-radius: 6px;
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
  display: grid; grid-template-columns: 11.5em minmax(8em, 26em) 8em; gap: 0 0.8em;
  align-items: center; min-height: 1.9em; margin: 0; padding: 0; border: 0;
}
.minimamba-explorer :is(.task, .presets, .choices) { display: flex; flex-wrap: wrap; gap: 0 1.2em; }
.minimamba-explorer .task { margin-bottom: 6px; justify-content: space-between; }
.minimamba-explorer .task p { margin: 0 0 4px; }
.minimamba-explorer .sign-of-success { display: inline-block; min-width: 4.2em; margin-right: 0.3em; }
.minimamba-explorer :is(.is-done .sign-of-success, .done) { color: var(--done); }
.minimamba-explorer .done { margin: 6px 0 0; font-weight: 600; }
.minimamba-explorer .done:empty { display: none; }
.minimamba-explorer .presets { gap: 4px 6px; margin-bottom: 4px; }
.minimamba-explorer button {
  font: inherit; font-size: 13px; padding: 2px 9px; border-radius: 4px; cursor: pointer;
  color: var(--ink); background: var(--ground); border: 1px solid var(--grey);
}
.minimamba-explorer button:hover { border-color: var(--blue); }
.minimamba-explorer input[type=range] { width: 100%; margin: 0; accent-color: var(--blue); }
.minimamba-explorer :is(input[type=text], textarea) {
  width: 100%; box-sizing: border-box; font: 14px/1.4 ui-monospace, monospace;
}
.minimamba-explorer textarea { display: block; margin: 2px 0; resize: vertical; }
.minimamba-explorer .value { font-variant-numeric: tabular-nums; }
.minimamba-explorer .choices { grid-column: 2 / 4; }
.minimamba-explorer .choices label { display: flex; align-items: center; gap: 0.35em; }
.minimamba-explorer input[type=radio] { margin: 0; accent-color: var(--blue); }
.minimamba-explorer :is(input, textarea, button, .reader):focus-visible {
  outline: 2px solid var(--blue); outline-offset: 3px;
}
/* A shade at the right while there is more: what lies over it scrolls, and covers it at the end. */
.minimamba-explorer .picture {
  margin-top: 6px; overflow-x: auto;
  background: linear-gradient(to left, var(--ground) 50%, transparent) right / 32px 100% no-repeat local,
    linear-gradient(to left, var(--grey), transparent) right / 14px 100% no-repeat scroll;
}
.minimamba-explorer .sheet { position: relative; width: max-content; }
.minimamba-explorer svg { display: block; position: relative; }
.minimamba-explorer .sheet canvas { position: absolute; }
.minimamba-explorer .reader { position: absolute; inset: 0; pointer-events: none; }
.minimamba-explorer .reader:focus-visible { outline-offset: -2px; }
.minimamba-explorer .reading { pointer-events: none; }
.minimamba-explorer .reading > rect { fill: var(--ground); stroke: var(--ink); }
.minimamba-explorer text { fill: var(--ink); font-size: 12.5px; }
.minimamba-explorer text:is(.tick, .small) { font-size: 11.5px; }
.minimamba-explorer text.tick { fill: var(--soft); }
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
.minimamba-explorer :is(.cell, .behind) { fill: var(--ground); stroke: var(--soft); }
.minimamba-explorer .cell.sky { fill: var(--sky); }
.minimamba-explorer .sign rect { fill-opacity: 0.5; }
.minimamba-explorer .sign text { font-weight: 700; }
.minimamba-explorer .drag-area { fill: transparent; cursor: crosshair; touch-action: pan-y; }
.minimamba-explorer .handle { cursor: grab; touch-action: none; }
.minimamba-explorer .handle circle { fill: var(--ground); stroke: var(--ink); stroke-width: 1.5; }
.minimamba-explorer .caption { margin: 6px 0 0; }
.minimamba-explorer .message { margin: 4px 0; color: var(--red); }
.minimamba-explorer .message:empty { display: none; }
.minimamba-explorer .without-python { display: none; margin: 4px 0; color: var(--red); }
.jupyter-widgets-disconnected .minimamba-explorer .without-python { display: block; }
.jupyter-widgets-disconnected:has(.minimamba-explorer)::before { display: none; }
.minimamba-explorer .spoken {
  position: absolute; width: 1px; height: 1px; margin: 0; overflow: hidden; clip-path: inset(50%);
}
@container minimamba-explorer (max-width: 520px) {
  .minimamba-explorer .row { grid-template: "label value" auto "track track" auto / 1fr auto; }
  .minimamba-explorer .row:not(.readout) > :nth-child(2) { grid-area: track; }
  .minimamba-explorer .row > .value { grid-area: value; }
}
@media (pointer: coarse) {
  .minimamba-explorer :is(button, input:not([type=radio]), .choices label) { min-height: 44px; }
  .minimamba-explorer input[type=radio] { width: 20px; height: 20px; }
  .minimamba-explorer button { padding: 2px 14px; }
}
@media print {
  .minimamba-explorer .sheet { width: 100%; }
  .minimamba-explorer svg { width: 100%; height: auto; }
  .minimamba-explorer .presets { display: none; }
}`;
