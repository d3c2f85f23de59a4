// Drag the size of a state and the moment, and see what it still knows of the past.

const MEASURES = { legs: "LegS, all of it", legt: "LegT, 2 s", fout: "FouT, 2 s" };

export default {
  /** Gives back what is to be called once the explorer is gone. */
  render({ model, el }) {
    const image = html("img");
    const caption = face(el, "hippo", [
      slider(model, "size", { label: "numbers in the state", min: 3, max: 65, step: 2 }),
      slider(model, "moment", { label: "now, s", min: 0.5, max: 10, step: 0.05,
                                read: (value) => value.toFixed(2) }),
      choices(model, "measure", { label: "it looks back on", options: Object.keys(MEASURES),
                                  read: (measure) => MEASURES[measure] }),
    ], image);
    const forget = () => URL.revokeObjectURL(image.src);
    const show = () => {
      forget();
      image.src = URL.createObjectURL(new Blob([model.get("picture")], { type: "image/png" }));
    };
    const say = () => { image.alt = caption.textContent = model.get("caption"); };
    model.on("change:picture", show);
    model.on("change:caption", say);
    show();
    say();
    return forget;
  },
};
