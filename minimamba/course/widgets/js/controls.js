// Labelled controls, each bound to one trait of the model: a slider, radio buttons, a text field;
// and a value beside them that follows from the traits.
//
// A control sets its trait and redraws when the trait changes. An explorer whose traits depend on
// each other passes `update`, which turns the new value into all the traits to set at once.

import { html, uniqueId } from "./elements.js";

/** Set traits of the model and tell Python; the listeners to these traits redraw. */
export function setTraits(model, values) {
  for (const [name, value] of Object.entries(values)) model.set(name, value);
  model.save_changes();
}

/** An input element that keeps its keys: JupyterLab would use the arrows to move among cells. */
function inputElement(attributes, tag = "input") {
  return html(tag, { "data-lm-suppress-shortcuts": "true", ...attributes });
}

/** A slider with its label and its value as text; with `log`, its positions are powers of 10. */
export function slider(model, name, { label, min, max, step, log = false, format = String,
                                      update = (value) => ({ [name]: value }) }) {
  const input = inputElement({ type: "range", id: uniqueId(name), min, max, step });
  // Not an output element, which a screen reader would announce besides the slider's own text.
  const output = html("span", { class: "value", "aria-hidden": "true" });
  const show = () => {
    const value = model.get(name);
    input.value = log ? Math.log10(value) : value;
    output.textContent = format(value);
    input.setAttribute("aria-valuetext", output.textContent);
  };
  input.addEventListener("input", () => {
    const position = Number(input.value);
    // Rounded, so that Python does not get 0.011220184543019636 for 10 ** −1.95.
    setTraits(model, update(log ? Number((10 ** position).toPrecision(6)) : position));
  });
  model.on(`change:${name}`, show);
  show();
  return html("div", { class: "row" }, html("label", { for: input.id }, label), input, output);
}

/** A value that follows from some traits, with its label: it is in sight while a slider moves. */
export function readout(model, traits, { label, text }) {
  const value = html("span", { class: "value" });
  const show = () => { value.textContent = text(); };
  for (const trait of traits) model.on(`change:${trait}`, show);
  show();
  return html("div", { class: "row readout" }, html("span", {}, label), value);
}

/** Radio buttons for a few options; the arrow keys move among them. */
export function choices(model, name, { label, options, format = String,
                                       update = (value) => ({ [name]: value }) }) {
  const group = uniqueId(name);
  const inputs = options.map((option) => {
    const input = inputElement({ type: "radio", name: group, value: option });
    input.addEventListener("change", () => setTraits(model, update(option)));
    return input;
  });
  const show = () => {
    for (const input of inputs) input.checked = input.value === String(model.get(name));
  };
  model.on(`change:${name}`, show);
  show();
  const heading = html("span", { id: uniqueId("label") }, label);
  return html("div", { class: "row", role: "radiogroup", "aria-labelledby": heading.id }, heading,
    html("div", { class: "choices" }, ...inputs.map((input) => html("label", {}, input,
      format(input.value)))));
}

/**
 * A text field of one or more rows, with a hint beside it.
 *
 * The trait gets the text without the characters that `clean` removes. The field itself loses them
 * only when the focus leaves it, so that the text does not move while someone is typing.
 */
export function textField(model, name, { label, rows = 1, clean, hint,
                                         update = (value) => ({ [name]: value }) }) {
  const common = { id: uniqueId(name), spellcheck: "false", autocomplete: "off",
                   autocapitalize: "off" };
  const input = rows > 1 ? inputElement({ ...common, rows }, "textarea")
    : inputElement({ ...common, type: "text" });
  // JupyterLab would otherwise swallow line breaks.
  input.addEventListener("keydown", (event) => event.key === "Enter" && event.stopPropagation());
  input.addEventListener("input", () => setTraits(model, update(clean(input.value))));
  input.addEventListener("change", () => { input.value = model.get(name); });
  model.on(`change:${name}`, () => {
    if (clean(input.value) !== model.get(name)) input.value = model.get(name);
  });
  input.value = model.get(name);
  const note = html("span", { class: "value", id: uniqueId("hint") }, hint);
  input.setAttribute("aria-describedby", note.id);
  return html("div", { class: "row" }, html("label", { for: input.id }, label), input, note);
}
