// How the course reads in JupyterLab and in Notebook 7, which load this file by themselves: figures
// follow the dark theme, and lines of text that a cell prints break between words. To both, an extension is an object with its name. This one has no modules to get.
window._JUPYTERLAB ??= {};
window._JUPYTERLAB.minimamba = {
  get() {},
  init() {
    const style = document.createElement("style");
    // A figure is drawn for a white page. To invert it exchanges light and dark, and half a turn of
    // the hue brings back each colour: dark blue becomes light blue. White becomes #111, the dark
    // page. A figure in an output is a PNG of few colours, the first of which is white: "…VEX///",
    // written by plots.compact. Other pictures in outputs, such as photographs, stay as they are.
    // JupyterLab breaks a printed line at the last letter that fits, in the middle of a word.
    style.textContent = `.jp-OutputArea-output.jp-RenderedText pre {
      word-break: normal;
      overflow-wrap: anywhere;
    }
    @media screen {
      [data-jp-theme-light="false"] .jp-RenderedImage img[src*="BMVEX///"],
      [data-jp-theme-light="false"] .jp-RenderedMarkdown img[src*="/figures/"][src*=".svg"] {
        filter: invert(0.9333) hue-rotate(180deg);
        color: black;  /* of the words in place of a missing picture */
      }
    }`;
    document.head.append(style);
  },
};
