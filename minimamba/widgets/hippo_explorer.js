// Drag the size of a state and the moment, and see what it still knows of the past.

const MEASURES = { legs: "LegS, all of it", legt: "LegT, 2 s", fout: "FouT, 2 s" };

export default {
  render({ model, el }) {
    return pictured({ model, el }, "hippo", [
      slider(model, "size", { label: "numbers in the state", min: 3, max: 65, step: 2 }),
      slider(model, "moment", { label: "now, s", min: 0.5, max: 10, step: 0.05,
                                read: (value) => value.toFixed(2) }),
      choices(model, "measure", { label: "it looks back on", options: Object.keys(MEASURES),
                                  read: (measure) => MEASURES[measure] }),
    ]);
  },
};
