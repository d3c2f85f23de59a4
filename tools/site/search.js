// Search without a server. index.js holds the text of every section and every entry of the API
// reference; it is loaded at the first search.

const form = document.querySelector("form[role=search]");
const box = form.querySelector("input");
const said = form.querySelector("[role=status]");
const list = form.querySelector("ol");
const MOST_SECTIONS = 12;
const MOST_API_ENTRIES = 8;
const site = new URL(".", document.currentScript.src);
let index;
form.hidden = false;

function load() {
  index ??= new Promise((resolve, reject) => {
    const script = document.createElement("script");
    script.src = new URL("index.js", site);
    script.onload = () => resolve(window.COURSE);
    script.onerror = reject;
    document.head.append(script);
  });
  return index;
}

function count(text, word) {
  return text.toLowerCase().split(word).length - 1;
}

// Every word must occur. A match in a title counts more than one in the text; a whole title, as for
// the name of a function, counts most.
function score(section, words) {
  let sum = 0;
  for (const word of words) {
    const found = 20 * count(section.title, word) + 5 * count(section.chapter, word)
      + Math.min(count(section.text, word), 5) + 100 * (section.title.toLowerCase() === word);
    if (!found) return 0;
    sum += found;
  }
  return sum;
}

function marked(text, words) {
  const escaped = words.map((word) => word.replace(/[.*+?^${}()|[\]\\]/g, "\\$&"));
  const span = document.createElement("span");
  text.split(new RegExp(`(${escaped.join("|")})`, "i")).forEach((part, place) => {
    if (place % 2 === 0) return span.append(part);
    const mark = document.createElement("mark");
    mark.textContent = part;
    span.append(mark);
  });
  return span;
}

function item(section, words) {
  const places = words.map((word) => section.text.toLowerCase().indexOf(word));
  const first = Math.min(...places.filter((place) => place >= 0));
  const from = first > 50 && first < Infinity ? section.text.indexOf(" ", first - 50) + 1 : 0;
  const link = document.createElement("a");
  link.href = new URL(encodeURI(section.url), site);
  const where = section.level === 1 && !section.api ? section.title
    : `${section.chapter} › ${section.title}`;
  link.append(marked(where, words), marked(section.text.slice(from, from + 150), words));
  const entry = document.createElement("li");
  entry.append(link);
  return entry;
}

function number(found, singular, plural) {
  return found.length ? `${found.length} ${found.length > 1 ? plural : singular}` : "";
}

async function search() {
  // The paths in the index leave out the name of the package.
  const words = box.value.toLowerCase().split(/\s+/).filter(Boolean)
    .map((word) => word.replace(/^minimamba\.(?=.)/, ""));
  const sections = await load();
  if (!words.length) return clear();
  const found = sections.map((section) => [score(section, words), section])
    .filter(([points]) => points > 0).sort(([a], [b]) => b - a);
  const sectionsFound = found.filter(([, section]) => !section.api);
  const entriesFound = found.filter(([, section]) => section.api);
  said.textContent = [number(sectionsFound, "section", "sections"),
    number(entriesFound, "API entry", "API entries")].filter(Boolean).join(", ")
    || "No results";
  const shown = new Set([...sectionsFound.slice(0, MOST_SECTIONS),
    ...entriesFound.slice(0, MOST_API_ENTRIES)]);
  list.replaceChildren(...found.filter((one) => shown.has(one))
    .map(([, section]) => item(section, words)));
}

function clear() {
  said.textContent = "";
  list.replaceChildren();
}

box.addEventListener("focus", load);
box.addEventListener("input", search);

// ↓ and ↑ move through the results, Enter opens one (from the box: the first), Escape closes.
form.addEventListener("submit", async (event) => {
  event.preventDefault();
  await search();
  list.querySelector("a")?.click();
});
form.addEventListener("click", (event) => event.target.closest("a") && setTimeout(clear));
form.addEventListener("focusout", (event) => form.contains(event.relatedTarget) || clear());
form.addEventListener("focusin", () => list.children.length || search());
form.addEventListener("keydown", (event) => {
  const stops = [box, ...list.querySelectorAll("a")];
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (step) {
    event.preventDefault();
    stops[stops.indexOf(document.activeElement) + step]?.focus();
  } else if (event.key === "Escape") {
    clear();
    box.value = "";
    box.blur();
  }
});
document.addEventListener("keydown", (event) => {
  const typing = event.target.closest("input, textarea, select, [contenteditable]");
  if (event.key === "/" && !typing && !event.ctrlKey && !event.metaKey && !event.altKey) {
    event.preventDefault();
    box.focus();
  }
});

// On a narrow screen the list of pages starts closed.
const narrow = matchMedia("(max-width: 60rem)");
const contents = document.querySelector(".contents details");
const fold = () => { contents.open = !narrow.matches; };
narrow.addEventListener("change", fold);
fold();
