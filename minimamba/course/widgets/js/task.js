// What to try with an explorer: one line, settings to start from, and a sign that it is done.

import { setTraits } from "./controls.js";
import { html } from "./elements.js";

/**
 * A task is { ask, done, reached, presets }: what to do, in words; what the reader has then found;
 * whether the drawing now shows it; and settings by the name of their button.
 *
 * Returns the line, the element below the drawing that says what was found, and `update`, which
 * looks whether the task is done and returns what to say. The line keeps its size, because a
 * drawing that moves under a pointer can't be dragged.
 */
export function taskLine(model, settings, { ask, done, reached, presets }) {
  const sign = html("b", { class: "sign-of-success" });
  const praise = html("p", { class: "done" });
  // A page without a kernel has no `initial`, and starts from what is in its file.
  const initial = model.get("initial")
    ?? Object.fromEntries(settings.map((name) => [name, model.get(name)]));
  const button = ([name, values]) => {
    const element = html("button", { type: "button", "data-lm-suppress-shortcuts": "true" }, name);
    element.addEventListener("click", () => setTraits(model, values));
    return element;
  };
  const element = html("div", { class: "task" }, html("p", {}, sign, ask),
    html("div", { class: "presets" }, ...Object.entries({ ...presets, Reset: initial }).map(button)));
  const update = () => {
    const isDone = reached();
    sign.textContent = isDone ? "✓ Done:" : "Try it:";
    element.classList.toggle("is-done", isDone);
    praise.textContent = isDone ? `✓ ${done}` : "";
    return praise.textContent;
  };
  return { element, praise, update };
}
