// What is wider than the page scrolls by itself: a formula, a table, a figure, code. A region that scrolls can
// be reached with the Tab key, and style.css shades the side on which there is more. A tap on a figure's arrow
// goes on to the next part of the figure; beside it, the figure is a link to its file.
"use strict";

(() => {
  const ARROW = 48;  // pixels at a figure's right end: the arrow, and room for a thumb
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

  function goOn(event) {
    const region = event.currentTarget;
    const fromRight = region.getBoundingClientRect().right - event.clientX;
    // A click by keyboard has detail 0, and opens the figure.
    if (!event.detail || fromRight > ARROW || !region.matches(".more-right:has(img)")) return;
    event.preventDefault();
    region.scrollBy({ left: 0.8 * region.clientWidth, behavior: "smooth" });
  }

  const sizes = new ResizeObserver((changes) => changes.forEach(({ target }) => update(target)));
  for (const region of document.querySelectorAll(".wide, .formula, main pre")) {
    sizes.observe(region);
    region.addEventListener("scroll", () => update(region), { passive: true });
    region.addEventListener("click", goOn);
  }
})();
