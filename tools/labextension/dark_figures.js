// Figures follow the dark theme of JupyterLab and of Notebook 7: both load this file by themselves.
// To them, an extension is an object with its name. This one has no modules to get.
window._JUPYTERLAB ??= {};
window._JUPYTERLAB.minimamba = {
  get() {},
  init() {
    const style = document.createElement("style");
    // A figure is drawn for a white page. To invert it exchanges light and dark, and half a turn of
    // the hue brings back each colour: dark blue becomes light blue. White becomes #111, the dark
    // page. A figure in an output is a PNG of few colours, the first of which is white: "…VEX///",
    // written by plots.compact. Other pictures in outputs, such as photographs, stay as they are.
    style.textContent = `@media screen {
      [data-jp-theme-light="false"] .jp-RenderedImage img[src*="BMVEX///"],
      [data-jp-theme-light="false"] .jp-RenderedMarkdown img[src*="/figures/"][src*=".svg"] {
        filter: invert(0.9333) hue-rotate(180deg);
        color: black;  /* of the words in place of a missing picture */
      }
    }`;
    document.head.append(style);
  },
};
