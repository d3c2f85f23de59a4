// Search without a server. index.js holds the text of every section and every entry of the API
// reference; it is loaded when the search box is first used, with what finds sections in it.
"use strict";

const form = document.querySelector("form[role=search]");
const box = form.querySelector("input");
const said = form.querySelector("[role=status]");
const list = form.querySelector("ol");
const MOST_SECTIONS = 12;
const MOST_API_ENTRIES = 8;
const site = new URL(".", document.currentScript.src);
let finding;

function load(name) {
  return new Promise((resolve, reject) => {
    const script = document.createElement("script");
    script.src = new URL(name, site);
    script.async = false;  // they run in this order, whichever comes first
    script.onload = resolve;
    script.onerror = reject;
    document.head.append(script);
  });
}

// The function that finds the sections for a query; made at the first call.
function finder() {
  finding ??= Promise.all(["search-libraries.js", "index.js", "finding.js"].map(load))
    .then(() => window.makeFinder(window.COURSE));
  return finding;
}

const words = (text) => text.split(/([\p{L}\p{M}\p{N}_'’]+)/u);

// The piece of a text that begins shortly before the first word that was found, after "…" if that
// is within a sentence.
function piece(text, result) {
  const parts = words(text);
  const first = parts.findIndex((part, place) => place % 2 && result.matches(part));
  const from = Math.max(parts.slice(0, first).join("").length > 50 ? first - 10 : 0, 0);
  const rest = parts.slice(from).join("").trimStart();
  const isWithin = from > 0 && !/[.!?:]["”)]*\s*$/.test(parts.slice(0, from).join(""));
  return (isWithin ? "… " : "") + (rest.length > 150 ? rest.slice(0, 150).replace(/\S*$/, "") : rest);
}

function marked(text, result) {
  const span = document.createElement("span");
  words(text).forEach((part, place) => {
    if (place % 2 === 0 || !result.matches(part)) return span.append(part);
    const mark = document.createElement("mark");
    mark.textContent = part;
    span.append(mark);
  });
  return span;
}

function item(result) {
  const { section } = result;
  const link = document.createElement("a");
  link.href = new URL(encodeURI(section.url), site);
  const where = section.level === 1 && !section.api ? section.title
    : `${section.chapter} › ${section.title}`;
  const isInProse = words(section.text).some((part, place) => place % 2 && result.matches(part));
  const text = isInProse || !result.isInCode ? section.text : section.code;
  link.append(marked(where, result), marked(piece(text, result), result));
  const entry = document.createElement("li");
  entry.append(link);
  return entry;
}

function number(found, singular, plural) {
  return found.length ? `${found.length} ${found.length > 1 ? plural : singular}` : "";
}

async function search() {
  const find = await finder();
  const query = box.value;
  if (!query.trim()) return clear();
  const found = find(query);
  const sections = found.filter(({ section }) => !section.api);
  const entries = found.filter(({ section }) => section.api);
  said.textContent = [number(sections, "section", "sections"),
    number(entries, "API entry", "API entries")].filter(Boolean).join(", ") || "No results";
  const shown = new Set([...sections.slice(0, MOST_SECTIONS),
    ...entries.slice(0, MOST_API_ENTRIES)]);
  list.replaceChildren(...found.filter((one) => shown.has(one)).map(item));
}

function clear() {
  said.textContent = "";
  list.replaceChildren();
}

box.addEventListener("focus", finder);
box.addEventListener("input", search);

if (matchMedia("(pointer: fine)").matches) box.placeholder = "Search ( / )";

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
