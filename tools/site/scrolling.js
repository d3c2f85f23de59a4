// What is wider than the page scrolls by itself: a formula, a table, a figure, code. A region that scrolls can
// be reached with the Tab key, and style.css shades the side on which there is more.
"use strict";

(() => {
  const NAMES = { TABLE: "Table", MATH: "Formula", CODE: "Code", SAMP: "Output", A: "Figure" };

  function update(region) {
    const { scrollWidth, clientWidth, scrollLeft } = region;
    const scrolls = scrollWidth > clientWidth + 1;
    region.classList.toggle("more-left", scrolls && scrollLeft > 1);
    region.classList.toggle("more-right", scrolls && scrollLeft + clientWidth < scrollWidth - 1);
    if (scrolls === region.hasAttribute("tabindex")) return;
    if (scrolls) {
      const name = NAMES[region.firstElementChild?.tagName.toUpperCase()] ?? "Content";
      region.tabIndex = 0;
      region.setAttribute("role", "group");
      region.setAttribute("aria-label", `${name}, scrolls sideways`);
    } else {
      for (const name of ["tabindex", "role", "aria-label"]) region.removeAttribute(name);
    }
  }

  const sizes = new ResizeObserver((changes) => changes.forEach(({ target }) => update(target)));
  for (const region of document.querySelectorAll(".wide, .formula, main pre")) {
    sizes.observe(region);
    region.addEventListener("scroll", () => update(region), { passive: true });
  }
})();
