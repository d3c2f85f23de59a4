// Replaces the still picture of each widget by the widget itself. In a notebook Python holds a
// widget's values; here the page does.
"use strict";

(() => {
  class Model {
    constructor(state) {
      this.state = state;
      this.listeners = new Map();
    }

    get(name) {
      return this.state[name];
    }

    set(name, value) {
      if (Object.is(this.state[name], value)) return;
      this.state[name] = value;
      for (const listener of this.listeners.get(`change:${name}`) ?? []) listener();
    }

    on(event, listener) {
      this.listeners.set(event, [...(this.listeners.get(event) ?? []), listener]);
    }

    save_changes() {}  // there is no Python to send them to
  }

  // The text of each ES module is in modules.js, because a page that was opened from a disk may not
  // import a file. Several widgets of a page share one import.
  const imported = new Map();

  function importModule(name) {
    if (!imported.has(name)) {
      const text = new Blob([window.MODULES[name]], { type: "text/javascript" });
      imported.set(name, import(URL.createObjectURL(text)));
    }
    return imported.get(name);
  }

  async function mount(place) {
    const model = new Model(JSON.parse(place.querySelector("script").textContent));
    const { default: widget } = await importModule(place.dataset.module);
    const el = document.createElement("div");
    place.append(el);
    try {
      await widget.render({ model, el });
      place.querySelector(".still").hidden = true;
    } catch (error) {
      el.remove();  // the still picture stays
      throw error;
    }
  }

  document.querySelectorAll(".widget").forEach(mount);
})();
