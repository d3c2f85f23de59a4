// Short ways to make HTML and SVG elements, and identifiers that are unique in a page.

const SVG = "http://www.w3.org/2000/svg";

/** An HTML element with attributes and children. */
export function html(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

/** An SVG element with attributes and children. */
export function svg(tag, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

let count = 0;

/** An identifier that no other element of the page has, even if another widget is in it. */
export function uniqueId(name) {
  return `minimamba-${name}-${Date.now().toString(36)}-${count++}`;
}
