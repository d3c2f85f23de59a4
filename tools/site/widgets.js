// Puts each widget in the place of its still picture. Where Python would hold the widget's values,
// here they are in the page.

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

  save_changes() {}  // there is no one to tell
}

// From its text, not from a file: a page opened from a disk may not import one. (Not `load`: the
// scripts of a page share their names, and search.js has that one.)
function opened(name) {
  const text = new Blob([window.MODULES[name]], { type: "text/javascript" });
  return import(URL.createObjectURL(text));
}

async function mount(place) {
  const model = new Model(JSON.parse(place.querySelector("script").textContent));
  const { default: widget } = await opened(place.dataset.module);
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
