// Replaces the still picture of each widget by the widget itself. Its values, which Python would
// hold in JupyterLab, are in the page.

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

  save_changes() {}  // no kernel to send them to
}

// Imports a module from its text: a page opened from a disk may not import a file. (The scripts of a
// page share their names, and search.js has a function `load`.)
function importText(name) {
  const text = new Blob([window.MODULES[name]], { type: "text/javascript" });
  return import(URL.createObjectURL(text));
}

async function mount(place) {
  const model = new Model(JSON.parse(place.querySelector("script").textContent));
  const { default: widget } = await importText(place.dataset.module);
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
