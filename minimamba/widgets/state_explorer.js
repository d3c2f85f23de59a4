// Watch the states of a trained model over a line of code, a layer and a channel at a time.

const LONGEST = 80;

/** What the picture has no column for is left out. */
export function clean(text) {
  return text.replace(/[^\n -~]/gu, "").slice(0, LONGEST) || " ";
}

export default {
  render({ model, el }) {
    const most = model.get("most");
    return pictured({ model, el }, "state", [
      typed(model, "text", { label: "text", rows: 2, clean, read: `up to ${LONGEST}` }),
      slider(model, "layer", { label: "layer", min: 0, max: most.layer, step: 1 }),
      slider(model, "channel", { label: "channel", min: 0, max: most.channel, step: 1 }),
    ]);
  },
};
