// Drag the state dimension and the time, and see how much of the past a HiPPO state still holds.
// Python draws the picture; here are its controls.

import { choices, slider } from "./controls.js";
import { html } from "./elements.js";
import { frame } from "./explorer.js";

const MEASURES = { legs: "LegS, whole past", legt: "LegT, last 2 s", fout: "FouT, last 2 s" };

export default {
  /** Returns the function to call when the explorer is removed. */
  render({ model, el }) {
    const image = html("img");
    const caption = frame({ model, el }, "hippo", [
      slider(model, "d_state", { label: "state dimension N", min: 3, max: 65, step: 2 }),
      slider(model, "time", { label: "current time, s", min: 0.5, max: 10, step: 0.05,
                              format: (value) => value.toFixed(2) }),
      choices(model, "measure", { label: "measure", options: Object.keys(MEASURES),
                                  format: (measure) => MEASURES[measure] }),
    ], image);
    const release = () => URL.revokeObjectURL(image.src);
    const showPicture = () => {
      release();
      image.src = URL.createObjectURL(new Blob([model.get("picture")], { type: "image/png" }));
    };
    const showCaption = () => { image.alt = caption.textContent = model.get("caption"); };
    model.on("change:picture", showPicture);
    model.on("change:caption", showCaption);
    showPicture();
    showCaption();
    return release;
  },
};
