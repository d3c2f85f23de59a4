"""The static site, in Chromium: complete, interactive, searchable, and without a network."""

import contextlib
import functools
import http.server
import inspect
import json
import logging
import os
import posixpath
import re
import sys
import threading
from html import unescape
from io import BytesIO
from pathlib import Path
from urllib.parse import unquote, urldefrag, urlsplit

import nbformat
import numpy as np
import pytest
import torch
import yaml
from PIL import Image

import minimamba
from minimamba.course import plots
from minimamba.course.plots import style

sys.path.insert(0, str(Path(__file__).parent.parent / "tools" / "site"))
import build
import docstrings
import libraries
import links
import pictures
import prose
from api import Reference
from cells import WIDGET, Body

ROOT = Path(__file__).parent.parent
CHAPTERS = sorted(path.stem for path in (ROOT / "notebooks").glob("*.ipynb"))
WIDGET_MODULE = """
export default { render({ model, el }) {
  const button = document.createElement("button");
  const say = () => { button.textContent = `${model.get("count")} of ${model.get("unit")}`; };
  const add = () => { model.set("count", model.get("count") + 1); model.save_changes(); };
  button.addEventListener("keydown", (event) => event.key === "ArrowRight" && add());
  button.addEventListener("click", add);
  model.on("change:count", say);
  say();
  el.append(button);
} };
"""
PACKAGE = {
    "__init__.py": '''
"""A small package."""

from minimamba.filters import Filter, smooth

__all__ = ["Filter", "smooth"]
''',
    "filters.py": '''
"""Filters, such as `smooth`.

    y_t = a y_{t-1} + x_t
"""

from typing import NamedTuple, overload

ORDER = 2
"""The order of every filter."""


class Filter(NamedTuple):
    """A filter's <weights>, as Smith et al. chose them. There are two."""

    weights: list
    """(taps,), oldest first."""
    gain: float = 1.0

    @property
    def taps(self) -> int:
        """The number of weights."""

    def _hidden(self) -> None:
        """Not for users."""


@overload
def smooth(signal: list, *, with_state: bool = False) -> list: ...
@overload
def smooth(signal: list, *, with_state: bool) -> tuple[list, list]: ...
def smooth(signal, *, with_state=False):
    """Smooth a signal.

    Uses a `Filter`.

    Args:
        signal: (length,), the samples. A second sentence,
            on a second line.
        with_state: whether to return the last state too.

    Returns:
        (length,), as long as `signal`.

    Raises:
        ValueError: if `signal` is empty.

    Example:
        >>> smooth([1.0])
        [1.0]

    Source:
        Smith 1997, equation 19-1.
    """
    return signal


class Wide(Filter):
    """A filter with more weights."""


def undocumented_and_long(first_argument: int, second_argument: dict[str, int], third=(1, 2)):
    pass
''',
    "_private.py": '"""Not for users."""\n',
}
# What learners ask, and the section that must be among the first three results.
QUERIES = """
what is delta                     | glossary.html#Δ
Δ                                 | glossary.html#Δ
step size                         | 02_discretization_and_delta.html#Δ-is-time
why is A negative                 | 04_s4.html#6.-Why-A-is-minus-an-exponential,-and-where-it-starts
vanishing gradients               | 00_start_here.html#So-why-not-an-RNN?
selctive scan                     | 07_a_fused_kernel.html#7.-The-fused-selective-scan
parallel scan                     | 06_the_scan.html#06-·-The-scan
bf16                              | glossary.html#bfloat16
kv cache                          | glossary.html#cache
key-value cache                   | glossary.html#cache
S4 vs S6                          | 05_selectivity.html#2.-S4-beside-S6
discretise                        | glossary.html#discretization
dicretization                     | glossary.html#discretization
time constants                    | glossary.html#time-constant
zoh                               | glossary.html#zero-order-hold
zero order hold                   | glossary.html#zero-order-hold
why does the code use delta B     | 02_discretization_and_delta.html#6.-Why-does-the-code-use-ΔB,\
-and-not-zero-order-hold-for-B?
which rules explode               | 02_discretization_and_delta.html#3.-Which-rules-can-explode?
discount factor                   | glossary.html#discount-factor
hippo                             | 01_continuous_state_spaces.html#6.-HiPPO:-a-state-that-keeps-\
a-window
impulse responses                 | glossary.html#impulse-response
what is a hidden state            | glossary.html#hidden-state
dimension of the state            | glossary.html#state-dimension
shapes of A B C delta             | questions.html#What-shapes-have-A,-B,-C-and-Δ?
broadcasting                      | 05_selectivity.html#9.-What-"broadcast"-means-for-Δ,-and-why-\
the-code-projects
fft convolution                   | 03_recurrence_and_convolution.html#3.-Convolve-by-FFT,-with-p\
adding
LSTM                              | 02_discretization_and_delta.html#Is-that-a-GRU?-An-LSTM?
gated recurrent neural network    | 02_discretization_and_delta.html#8.-A-selective-state-is-a-ga\
ted-RNN
kernel fusion                     | glossary.html#fusion
roofline                          | glossary.html#roofline
bakward kernel                    | 08_the_backward_kernel.html#6.-The-backward-kernel
recomputing                       | glossary.html#recomputation
race conditions                   | glossary.html#race-condition
what does the short convolution do| 09_the_mamba_block.html#4.-What-is-the-short-convolution-for,-\
and-does-it-shift-tokens?
packed sequences                  | 09_the_mamba_block.html#7.-Packed-and-left-padded-sequences
step by step generation           | 09_the_mamba_block.html#6.-All-at-once,-or-step-by-step?
length generalisation             | 10_training_mamba.html#4.-Beyond-the-lengths-it-was-trained-on
why is A not selective            | questions.html#Why-is-A-not-selective?-Why-not-learn-Ā-and-B̄-\
directly?
phone book                        | 11_what_a_state_forgets.html#5.-To-copy,-and-to-use-a-phone-book
jamba                             | 11_what_a_state_forgets.html#8.-How-Jamba-is-laid-out
why is my loss nan                | questions.html#NaN-and-bf16:-what-must-stay-float32?
mamba vs transformer              | 00_start_here.html#1.-Why-another-sequence-model?
d_state                           | glossary.html#d_state
install                           | 00_start_here.html#2.-Your-machine
"""
SCREEN = {"width": 1280, "height": 900}
PHONE = {"width": 390, "height": 800}
pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    build.build(folder)
    return folder


@pytest.fixture(scope="module")
def small_site(tmp_path_factory):
    """A notebook with a widget that needs no kernel, a formula and a solution; a small package."""
    notebooks = tmp_path_factory.mktemp("notebooks")
    widget = {"module": "counter.js", "state": {"count": 1, "unit": "</script> & 3"}}
    executed = (ROOT / "notebooks" / f"{CHAPTERS[0]}.ipynb").read_text(encoding="utf-8")
    png = re.search(r'"image/png": "(.+?)"', executed).group(1).replace("\\n", "")
    output = nbformat.v4.new_output(
        "execute_result", {"application/vnd.minimamba.widget+json": widget, "image/png": png,
                           "text/plain": "Counter()"}, metadata={"image/png": {"alt": "one"}})
    nbformat.write(nbformat.v4.new_notebook(cells=[
        nbformat.v4.new_markdown_cell("# A widget\n\n## About `smooth`\n\nCall `smooth(x)`."),
        nbformat.v4.new_markdown_cell(r"$$\bar A = \frac{\Delta}{2}$$"),
        nbformat.v4.new_code_cell("Counter()", outputs=[output]),
        nbformat.v4.new_code_cell("answer = 42", metadata={"tags": ["solution"]}),
    ]), notebooks / "00_widget.ipynb")
    package = tmp_path_factory.mktemp("package") / "minimamba"
    package.mkdir()
    for name, text in PACKAGE.items():
        (package / name).write_text(text.lstrip(), encoding="utf-8")
    folder = tmp_path_factory.mktemp("small_site")
    build.build(folder, notebooks, package, {"counter.js": WIDGET_MODULE}.get)
    return folder


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
        pass


@pytest.fixture
def served(site):
    """The address of the site on a server; the other tests open it from the disk."""
    handler = functools.partial(QuietHandler, directory=str(site))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture(scope="module")
def context(browser):
    """One for all tests, so that the browser loads the style and the scripts once."""
    context = browser.new_context()
    context.set_default_timeout(10_000)
    yield context
    context.close()


@pytest.fixture
def page(context):
    """A page that records the addresses it loads, and every error."""
    page = context.new_page()
    page.set_viewport_size(SCREEN)
    page.requested, page.errors = [], []
    page.on("request", lambda request: page.requested.append(request.url))
    page.on("requestfailed", lambda request: page.errors.append(request.url))
    page.on("response", lambda it: page.errors.append(it.url) if it.status >= 400 else None)
    page.on("console", lambda it: page.errors.append(it.text) if it.type == "error" else None)
    page.on("pageerror", lambda error: page.errors.append(str(error)))
    yield page
    page.close()


def loads_only_files(page):
    return {urlsplit(url).scheme for url in page.requested} <= {"file", "blob", "data"}


def fits_a_phone(page):
    return page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]


def search_index(site):
    text = (site / "index.js").read_text(encoding="utf-8")
    return json.loads(text.removeprefix("window.COURSE = ").removesuffix(";\n"))


def search(page, words):
    """Type into the search box; the status line and the results' addresses below the site."""
    page.keyboard.press("/")
    page.keyboard.insert_text(words)
    page.locator("form[role=search] li a").first.wait_for()
    folder = page.evaluate("site.href")
    links = page.locator("form[role=search] li a").evaluate_all("all => all.map(a => a.href)")
    return (page.locator("form[role=search] [role=status]").inner_text(),
            [link.removeprefix(folder) for link in links])


# All pages

def test_every_link_leads_to_an_existing_page_and_id(site):
    pages = {path.relative_to(site).as_posix(): path.read_text(encoding="utf-8")
             for path in site.rglob("*.html")}
    ids = {name: list(map(unescape, re.findall(r'\bid="([^"]*)"', html)))
           for name, html in pages.items()}
    assert [name for name, all_ids in ids.items() if len(all_ids) != len(set(all_ids))] == []
    broken = []
    for name, html in pages.items():
        for link in set(re.findall(r'<a\b[^>]*? href="([^"]*)"', html)):
            address, anchor = urldefrag(unquote(unescape(link)))
            if urlsplit(address).scheme:
                right = re.fullmatch(r"https://[\w.-]+\.\w+(/\S*)?", address)
            else:
                file = posixpath.normpath(posixpath.join(posixpath.dirname(name), address)) \
                    if address else name
                right = (site / file).is_file() and (not anchor or anchor in ids[file])
            if not right:
                broken.append((name, link))
    assert broken == []
    assert len(pages) > len(CHAPTERS) + 40
    assert all('api/index.html"' in html for html in pages.values())


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_chapter_is_complete_and_loads_nothing_from_elsewhere(chapter, site, page):
    page.set_viewport_size(PHONE)
    page.goto(f"{site.as_uri()}/{chapter}.html", wait_until="load")
    assert loads_only_files(page)
    assert page.locator("main h1").count() == 1
    assert page.locator("main a[href$='.svg'] img").count() >= 1
    assert page.locator("figure:not(:has(a)):not(:has(.note))").count() == 0   # each has its SVG
    assert page.locator("img:not([alt]), img[alt='']").count() == 0
    assert all(page.locator("img").evaluate_all("all => all.map(i => i.naturalWidth)"))

    notebook = nbformat.read(ROOT / "notebooks" / f"{chapter}.ipynb", 4)
    text = "".join(c.source for c in notebook.cells if c.cell_type == "markdown")
    assert (page.locator("math").count() > 0) == ("$" in text)
    html = (site / f"{chapter}.html").read_text(encoding="utf-8")
    shown = prose.text(re.sub(r"<(pre|code|script)\b.*?</\1>", "", html, flags=re.S))
    assert not re.search(r"\$|\\[a-zA-Z]+|</\w+>", shown)   # no LaTeX and no HTML
    page.wait_for_function("[...document.querySelectorAll('.widget .still')].every(e => e.hidden)")
    assert fits_a_phone(page)
    assert page.errors == []


def test_text_contrasts_with_its_background_in_both_themes(site, page):
    for path, least in (("02_discretization_and_delta.html", 500), ("api/scan.html", 150)):
        page.goto(f"{site.as_uri()}/{path}")
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            contrast = page.evaluate("""() => {
                const channel = c =>
                    (c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
                const luminance = colour => colour.match(/\\d+/g).slice(0, 3)
                    .reduce((sum, c, i) => sum + channel(c) * [0.2126, 0.7152, 0.0722][i], 0);
                const background = e => /^rgba.* 0\\)$/.test(getComputedStyle(e).backgroundColor)
                    ? background(e.parentElement) : getComputedStyle(e).backgroundColor;
                const all = "p, body a, body pre span, samp, summary, th span";
                return [...document.querySelectorAll(all)]
                    .filter(e => e.checkVisibility()).map(e => {
                        const [a, b] = [getComputedStyle(e).color, background(e)].map(luminance);
                        return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
                    });
            }""")
            assert len(contrast) > least
            assert min(contrast) > 4.5


def test_formulas_are_typeset_in_the_font_of_the_site(small_site, page):
    page.goto(f"{small_site.as_uri()}/00_widget.html")
    assert page.evaluate("document.fonts.ready.then(() => "
                         "document.fonts.check('16px \"Course Math\"', 'Δ'))")
    fraction = page.locator("mfrac").first.bounding_box()
    above, below = page.locator("mfrac").first.locator("> *").all()
    assert above.bounding_box()["y"] < below.bounding_box()["y"]
    assert fraction["height"] > above.bounding_box()["height"] + below.bounding_box()["height"]
    assert prose.text(prose.formula(r"\bar A_t = e^{\Delta A}", display=True)) == "Ā_t = e^(ΔA)"


def test_first_tab_stop_skips_to_the_main_content(site, page):
    page.goto(f"{site.as_uri()}/index.html")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to main content"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.tagName") == "MAIN"


def test_solutions_are_folded_on_screen_and_not_printed(small_site, page):
    page.goto(f"{small_site.as_uri()}/00_widget.html")
    solution = page.locator("main details.solution pre").first
    assert not solution.is_visible()
    page.locator("main summary").first.click()
    assert solution.is_visible()
    page.emulate_media(media="print")
    assert not solution.is_visible()
    assert page.locator("main h2").first.is_visible()
    assert not page.locator("header, nav").first.is_visible()
    assert page.pdf(format="A4").startswith(b"%PDF")


# The first page

def test_first_page_has_a_live_widget_and_every_chapter(site, page):
    page.set_viewport_size(PHONE)
    page.goto(f"{site.as_uri()}/index.html")
    assert page.locator("h1").bounding_box()["y"] < 300
    page.locator(".widget input").first.fill("..z..")
    page.locator(".widget", has_text="..z..").wait_for()
    links = page.locator(".chapters a").evaluate_all("all => all.map(a => a.getAttribute('href'))")
    assert links == [*(f"{name}.html" for name in CHAPTERS), "questions.html", "glossary.html"]
    assert page.locator(".chapters span").count() == len(CHAPTERS)
    assert fits_a_phone(page)
    assert page.errors == []


@pytest.mark.parametrize("repository", [None, "https://github.com/someone/a-course",
                                        "https://example.org/git/a-course"])
def test_pages_link_to_the_repository_if_there_is_one(tmp_path, repository):
    small_build(tmp_path, TITLE, name="00_a.ipynb", repository=repository)
    for page in ("index.html", "00_a.html"):
        html = (tmp_path / "site" / page).read_text(encoding="utf-8")
        assert (f'href="{repository}"' in html) == bool(repository)
        clone = f"git clone {repository} &amp;&amp; cd a-course &amp;&amp; make course"
        assert (clone in html) == bool(repository)
        assert "None" not in html
    links = re.findall(r'<a href="(https://[^"]*)">(\w+)</a>', html)
    on_github = repository and "github" in repository
    assert [name for _, name in links] == (["Colab", "Kaggle", "Binder"] if on_github else [])
    for url, _ in links:
        assert "someone/a-course" in url
        assert url.endswith("notebooks/00_a.ipynb")
    # Without a repository, the first cell of a downloaded chapter has nothing to install from.
    assert ('href="notebooks/00_a.ipynb" download' in html) == bool(repository)


def test_repository_is_the_one_of_the_project_s_urls(tmp_path):
    project = tmp_path / "pyproject.toml"
    project.write_text("[project]\nname = 'a'\n")
    assert links.repository(project) is None
    project.write_text("[project.urls]\nDocumentation = 'https://a.b'\n")
    assert links.repository(project) is None
    project.write_text("[project.urls]\nRepository = 'https://a.b/c'\n")
    assert links.repository(project) == "https://a.b/c"


# Figures, formulas and tables

def test_nothing_moves_while_a_page_loads(site, page):
    """The figures arrive when the text has been painted, as over a network."""
    def painted_first(route):
        painted = "performance.getEntriesByName('first-contentful-paint').length"
        page.wait_for_function(painted)
        route.continue_()

    page.route("**/figures/*", painted_first)
    page.add_init_script("""window.shift = 0;
        new PerformanceObserver(list => list.getEntries().forEach(one => window.shift += one.value))
            .observe({ type: "layout-shift", buffered: true });""")
    for size in (PHONE, SCREEN):
        page.set_viewport_size(size)
        for name in ("index", "02_discretization_and_delta"):
            page.goto(f"{site.as_uri()}/{name}.html", wait_until="load")
            assert page.locator("img:not([width][height])").count() == 0
            page.wait_for_function("[...document.querySelectorAll('.still')].every(e => e.hidden)")
            assert page.evaluate("window.shift") < 0.01


def test_wide_formulas_tables_and_figures_scroll_with_a_hint_and_can_be_focused(site, page):
    page.set_viewport_size(PHONE)
    page.goto(f"{site.as_uri()}/02_discretization_and_delta.html")
    table = page.locator(".wide.more-right:has(table)").first
    table.focus()
    assert page.evaluate("document.activeElement.getAttribute('aria-label')") == (
        "Table, scrolls sideways")
    assert table.evaluate("e => getComputedStyle(e).boxShadow") != "none"
    page.keyboard.press("ArrowRight")
    page.locator(".wide.more-left").first.wait_for()
    figures = page.locator("[aria-label='Figure, scrolls sideways'].more-right img")
    assert figures.count() >= 10
    assert figures.evaluate_all("all => all.every(i => i.width == i.getAttribute('width'))")
    assert page.locator(".formula.more-right[tabindex='0']").count() >= 1
    page.set_viewport_size({"width": 1900, "height": 900})
    page.wait_for_function("!document.querySelector('.wide[tabindex]')")


def test_a_tap_on_the_arrow_of_a_figure_goes_on_and_one_beside_it_opens_the_figure(site, page):
    page.set_viewport_size(PHONE)
    page.goto(f"{site.as_uri()}/02_discretization_and_delta.html")
    figure = page.locator(".wide.more-right:has(img)").first
    figure.scroll_into_view_if_needed()
    box = figure.bounding_box()
    height = box["y"] + box["height"] / 2
    page.mouse.click(box["x"] + box["width"] - 16, height)
    page.wait_for_function("document.querySelector('.wide:has(img)').scrollLeft > 100")
    assert page.url.endswith(".html")
    page.mouse.click(box["x"] + 16, height)
    page.wait_for_url("**/figures/*.svg")


def test_on_a_phone_the_contents_stay_in_sight_and_lead_to_a_section(site, page):
    page.set_viewport_size(PHONE)
    page.goto(f"{site.as_uri()}/02_discretization_and_delta.html")
    page.evaluate("scrollTo(0, document.documentElement.scrollHeight)")
    contents = page.locator(".contents summary")
    assert contents.bounding_box()["y"] >= 0
    contents.click()
    link = page.locator(".contents ol ol a").nth(3)
    title = link.inner_text()
    link.click()
    assert not page.locator(".contents details").evaluate("e => e.open")
    heading = page.get_by_role("main").get_by_role("heading", name=title, exact=True)
    page.wait_for_function("scrollY < document.documentElement.scrollHeight / 2")
    below = contents.bounding_box()
    assert below["y"] + below["height"] <= heading.bounding_box()["y"] < PHONE["height"] / 3


def test_search_results_lie_over_the_contents_on_a_phone(site, page):
    page.set_viewport_size(PHONE)
    page.goto(f"{site.as_uri()}/02_discretization_and_delta.html")
    search(page, "Discount factor")
    first = page.locator("form[role=search] li a").first
    first.click(trial=True)                                  # nothing covers it


def test_figures_follow_the_theme_and_are_printed_on_white(site, page):
    def darkness():
        png = page.locator("main figure img[src$='.svg']").first.screenshot()
        return 255 - np.asarray(Image.open(BytesIO(png)).convert("L")).mean()

    page.goto(f"{site.as_uri()}/02_discretization_and_delta.html")
    seen = []
    for scheme, media in (("light", "screen"), ("dark", "screen"), ("dark", "print")):
        page.emulate_media(color_scheme=scheme, media=media)
        seen.append(darkness())
    light, dark, printed = seen
    assert light < 40
    assert dark > 200
    assert printed < 40


def test_numbers_on_a_heat_map_keep_their_colours_in_both_themes(tmp_path):
    table = torch.tensor([[0.0, 100.0], [50.0, 70.0]])
    figure = plots.annotated_heatmaps({"a": table}, ["p", "q"], ["r", "s"], "x", "y", "z")
    style._write_svg(figure, tmp_path, "map", "a map")
    themed = pictures.themed((tmp_path / "map.svg").read_text(encoding="utf-8"))
    fixed = re.findall(r'<g fill="#000000" id="text_\d+">\s*<!-- (\S+) -->', themed)
    assert sorted(fixed) == ["0", "100", "50", "70"]


# Search

def test_search_works_by_keyboard(site, page):
    page.goto(f"{site.as_uri()}/index.html")
    status, found = search(page, "Discount factor")
    assert status.endswith("sections")
    assert {m.lower() for m in page.locator("mark").all_inner_texts()} == {"discount", "factor"}
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowUp")
    target = page.evaluate("document.activeElement.href")
    assert target.endswith(found[0])
    page.keyboard.press("Enter")
    page.wait_for_url(target)
    assert "discount-factor" in page.url
    top = page.locator(f"[id='{unquote(urlsplit(page.url).fragment)}']").bounding_box()["y"]
    assert 0 <= top < 900                              # the section is in view, below the header

    page.keyboard.press("/")
    page.keyboard.insert_text("zebrafish")
    page.get_by_text("No results").wait_for()
    page.keyboard.press("Escape")
    assert page.get_by_role("searchbox").input_value() == ""
    assert page.errors == []


def test_search_finds_the_entries_of_the_glossary(site, page):
    for name in ("glossary", "questions"):
        assert "§ is the section.</p>" in (site / f"{name}.html").read_text()
    page.goto(f"{site.as_uri()}/glossary.html")
    assert page.locator("nav [aria-current=page]").inner_text() == "Glossary"
    ids = page.locator("main tbody tr").evaluate_all("all => all.map(row => row.id)")
    assert all(ids)
    assert len(ids) == len(set(ids)) > 60
    search(page, "grouped queries")
    page.locator("form[role=search] li a[href$='glossary.html#grouped-queries']").click()
    assert page.locator("[id='grouped-queries']").is_visible()
    assert page.errors == []


def test_search_finds_what_learners_ask_for_among_the_first_three(site, page):
    page.goto(f"{site.as_uri()}/glossary.html")
    queries = dict(map(str.strip, line.rsplit("|", 1)) for line in QUERIES.strip().splitlines())
    assert len(queries) == 44
    found = page.evaluate("""async (queries) => {
        const find = await finder();
        return queries.map(words => find(words).slice(0, 3).map(({ section }) => section.url));
    }""", [*queries, "mamba 2"])
    assert re.search(r"mamba-?2|^12_", found.pop()[0], re.I)
    assert {words: urls for (words, url), urls in zip(queries.items(), found, strict=True)
            if url not in urls} == {}


def test_search_ranks_text_over_code_and_chapters_over_the_api(site, page):
    page.goto(f"{site.as_uri()}/glossary.html")
    found = page.evaluate("""async () => {
        const find = await finder();
        return ["why is my loss nan", "mamba vs transformer", "d_state", "install"].flatMap(words =>
            find(words).slice(0, 3).map(({ section, isInCode }) => section.api || isInCode));
    }""")
    assert len(found) == 12
    assert not any(found)
    names = page.evaluate("""async () => {
        const find = await finder();
        return find("selective scan").slice(0, 3).map(({ section }) => section.url);
    }""")
    assert "api/scan.html#selective_scan" in names
    assert not any("run_line_magic" in section["code"] for section in search_index(site))


def test_search_finds_the_api_reference_beside_the_chapters(served, page):
    page.goto(f"{served}/api/lti.html")                # from a page in a folder of its own
    for words in ("attention_mask", "minimamba.selective_scan", "selective_scan"):
        page.get_by_role("searchbox").fill("")
        status, found = search(page, words)
        assert re.fullmatch(r"\d+ sections?, \d+ API entr(y|ies)", status)
        assert any(url.startswith("api/") for url in found)
        assert any(url[:2].isdigit() for url in found)
        if "scan" in words:
            assert found[0] == "api/scan.html#selective_scan"
    page.keyboard.press("Enter")
    page.wait_for_url(f"{served}/{found[0]}")
    assert page.errors == []


def test_search_results_lie_within_the_screen_and_mark_synonyms_and_stems(site, page):
    page.goto(f"{site.as_uri()}/glossary.html")
    search(page, "delta discretise")
    marks = {mark.lower() for mark in page.locator("mark").all_inner_texts()}
    assert {"δ", "discretization"} <= marks
    for width in (320, 390, 768, 1280):
        page.set_viewport_size({"width": width, "height": 800})
        for part in ("[role=status]", "ol", "li >> nth=0"):
            box = page.locator("form[role=search]").locator(part).bounding_box()
            assert box["x"] >= 0
            assert box["x"] + box["width"] <= width
            assert box["width"] > min(280, width)


# The API reference

@pytest.mark.parametrize("name", minimamba.__all__)
def test_every_public_name_has_an_api_entry_with_its_first_sentence(site, name):
    words = " ".join(inspect.getdoc(getattr(minimamba, name)).split("\n\n")[0].split())
    opening = words.replace("`", "").split(". ")[0].removesuffix(".")
    overview = (site / "api" / "index.html").read_text(encoding="utf-8")
    row = re.search(rf'<a href="\.\./(api/[^"]+)"><code>{name}</code></a>.*?</tr>', overview, re.S)
    assert opening in prose.text(row.group())
    page, _, anchor = row.group(1).partition("#")
    html = (site / page).read_text(encoding="utf-8")
    assert f'id="{anchor}"' in html or not anchor
    assert opening in prose.text(html)
    entry, = (entry for entry in search_index(site) if entry["url"] == row.group(1))
    assert opening in entry["text"]
    assert not anchor or f".{name}" in entry["code"]


def test_api_pages_load_nothing_from_elsewhere_and_fit_a_phone(site, page):
    page.set_viewport_size(PHONE)
    for name in ("index", "scan", "lm", "course.widgets"):
        page.goto(f"{site.as_uri()}/api/{name}.html")
        assert page.locator("main h1").count() == 1
        assert page.locator("nav [aria-current=page]").count() == 1
        assert page.locator("header [aria-current=true]").inner_text() == "API reference"
        assert fits_a_phone(page)
    assert loads_only_files(page)
    assert page.errors == []


def test_api_page_shows_every_part_of_a_docstring(small_site, page):
    page.goto((small_site / "api" / "filters.html").as_uri())
    assert page.locator("main h1").inner_text() == "minimamba.filters"
    assert page.locator("main > pre").first.inner_text().strip() == "y_t = a y_{t-1} + x_t"
    assert page.locator("main > p a.api").first.get_attribute("href").endswith("#smooth")
    assert page.locator("main h2").all_inner_texts() == [
        "Filter", "smooth", "Wide", "undocumented_and_long", "Constants"]

    text = page.locator("main").inner_text()
    for shown in ("class Filter(weights: list, gain: float = 1.0)", "Base class: NamedTuple.",
                  "Base class: minimamba.filters.Filter.",
                  "A filter's <weights>, as Smith et al. chose them. There are two.",
                  "smooth(signal: list, *, with_state: bool = False) -> list",
                  "smooth(signal: list, *, with_state: bool) -> tuple[list, list]",
                  ">>> smooth([1.0])", "Smith 1997, equation 19-1.",
                  "    first_argument: int,\n    second_argument: dict[str, int],\n"
                  "    third=(1, 2),\n)"):
        assert shown in text
    assert "_hidden" not in text
    assert page.locator(".part").all_inner_texts() == [
        "Attributes", "Args", "Returns", "Raises", "Example", "Source"]

    def row(name):
        cells = page.get_by_role("row").filter(has=page.get_by_role(
            "rowheader", name=re.compile(rf"^{name}\b"))).locator("td")
        return " ".join(cells.inner_text().split())

    assert row("weights") == "(taps,), oldest first."
    assert row("taps") == "The number of weights."
    assert row("signal") == "(length,), the samples. A second sentence, on a second line."
    assert row("ValueError") == "if signal is empty."
    assert row("ORDER") == "The order of every filter."
    assert page.locator("td code", has_text="(length,)").count() == 1
    page.get_by_text(re.compile(r"^Source: minimamba/filters\.py, line \d+$")).nth(1).click()
    assert page.locator("details[open] pre").inner_text().startswith("def smooth(")
    assert page.errors == []

    page.goto((small_site / "api" / "index.html").as_uri())
    assert row("Filter") == "A filter's <weights>, as Smith et al. chose them."
    assert row("minimamba.filters") == "Filters, such as smooth."
    assert not (small_site / "api" / "_private.html").exists()


def test_code_in_a_chapter_links_to_the_api_reference(small_site, page):
    page.goto((small_site / "00_widget.html").as_uri())
    assert page.locator("main p a.api").get_attribute("href") == "api/filters.html#smooth"
    assert page.locator("h2 a").count() == 0


def test_documented_arguments_are_those_of_the_signatures(caplog):
    with caplog.at_level(logging.WARNING):
        reference = Reference(ROOT / "minimamba")
        for module in reference.modules:
            for thing in (module, *docstrings.contents(module)):
                docstrings.docstring(thing)
    assert caplog.messages == []


# Widgets

def check_widget_counts(page):
    button = page.locator(".widget button")
    button.wait_for()
    assert not page.locator(".widget .still").is_visible()
    assert button.inner_text() == "1 of </script> & 3"
    button.focus()
    page.keyboard.press("ArrowRight")
    assert button.inner_text() == "2 of </script> & 3"
    button.click()
    assert button.inner_text() == "3 of </script> & 3"
    assert page.errors == []


def test_widget_responds_to_key_and_mouse_in_a_page_opened_from_a_disk(small_site, page):
    page.goto((small_site / "00_widget.html").as_uri())
    check_widget_counts(page)
    assert loads_only_files(page)


def test_without_javascript_a_widget_shows_its_still_picture(small_site, browser):
    page = browser.new_context(java_script_enabled=False).new_page()
    page.goto((small_site / "00_widget.html").as_uri())
    assert page.locator(".widget .still img").is_visible()
    assert not page.get_by_role("search").is_visible()
    page.context.close()


# The build

class Registry:
    """Stands in for urllib: answers with some bytes, or fails."""

    def __init__(self, answer):
        self.answer = answer
        self.calls = 0

    def urlopen(self, url, timeout):
        self.calls += 1
        if isinstance(self.answer, Exception):
            raise self.answer
        return BytesIO(self.answer)


@pytest.mark.parametrize(("answer", "calls", "reason"), [
    (OSError("no route to host"), 3, "could not be fetched from https://registry.npmjs.org/stemmer/"
                                     "-/stemmer-2.0.1.tgz: no route to host. Connect"),
    (b"other", 1, "expected the package whose SHA-512 is bkWv"),
])
def test_a_library_that_cannot_be_had_is_named_in_one_line(tmp_path, monkeypatch, answer, calls,
                                                          reason):
    registry = Registry(answer)
    monkeypatch.setattr(libraries, "VENDOR", tmp_path / "vendor")
    monkeypatch.setattr(libraries.urllib.request, "urlopen", registry.urlopen)
    monkeypatch.setattr(libraries.time, "sleep", lambda seconds: None)
    with pytest.raises(ValueError, match=re.escape(reason)) as refusal:
        libraries.STEMMER.files()
    assert "\n" not in str(refusal.value)
    assert registry.calls == calls
    assert not (tmp_path / "vendor").exists()


def test_a_library_is_fetched_once_and_checked_each_time(tmp_path, monkeypatch):
    libraries.STEMMER.files()
    kept, = libraries.VENDOR.glob("stemmer-*.tgz")
    registry = Registry(kept.read_bytes())
    monkeypatch.setattr(libraries, "VENDOR", tmp_path / "vendor")
    monkeypatch.setattr(libraries.urllib.request, "urlopen", registry.urlopen)
    first = libraries.STEMMER.files()
    assert libraries.STEMMER.files() == first
    assert registry.calls == 1
    (tmp_path / "vendor" / kept.name).write_bytes(b"damaged")
    assert libraries.STEMMER.files() == first
    assert registry.calls == 2


def test_formula_that_cannot_be_converted_stops_the_build():
    with pytest.raises(Exception, match="nosuchcommand"):
        prose.render(r"Here $\nosuchcommand$ is.")


def folder_of(tmp_path, *names):
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("keep", encoding="utf-8")
    return tmp_path


def marked(folder, *names):
    """A folder as if a build had written these files, or all, in it."""
    lines = [build.listed(folder, name) for name in names or build.files(folder)]
    (folder / build.MARKER).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def refuses(folder, reason):
    """Nothing is written or deleted, and the message is one line."""
    around = folder.resolve().parent
    before = sorted(around.rglob("*"))
    with pytest.raises(ValueError, match=reason) as refusal:
        build.build(folder)
    assert "\n" not in str(refusal.value)
    assert sorted(around.rglob("*")) == before


@pytest.mark.parametrize("names", [["mine.txt"], ["index.js"], ["index.js", "index.html"],
                                   [".hidden"], ["a/b/c"], [".minimamba-site/a"]])
def test_a_folder_that_no_build_wrote_is_refused(tmp_path, names):
    refuses(folder_of(tmp_path / "site", *names), r"got a folder without \.minimamba-site$")


@pytest.mark.parametrize("name", ["mine.txt", "notebooks/mine.ipynb", ".git/HEAD"])
def test_a_site_with_a_file_of_someone_else_is_refused(tmp_path, name):
    folder = folder_of(tmp_path / "site", "index.html", "notebooks/a.ipynb", name)
    marked(folder, "index.html", "notebooks/a.ipynb")
    refuses(folder, f"file that no build wrote, or that was changed since: {re.escape(name)}$")


@pytest.mark.parametrize("name", ["index.html", "notebooks/a.ipynb"])
def test_a_site_in_which_someone_has_worked_is_refused(tmp_path, name):
    folder = marked(folder_of(tmp_path / "site", "index.html", "notebooks/a.ipynb"))
    (folder / name).write_text("solved")
    refuses(folder, f"file that no build wrote, or that was changed since: {re.escape(name)}$")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="Windows has no such pipes")
def test_a_site_with_a_pipe_is_refused_and_not_read(tmp_path, monkeypatch):
    def read(path):
        assert path.is_file()                               # else it could wait for ever
        return path.open("rb").read()

    monkeypatch.setattr(Path, "read_bytes", read)
    folder = marked(folder_of(tmp_path / "site", "index.html"))
    os.mkfifo(folder / "pipe")
    refuses(folder, "file that no build wrote, or that was changed since: pipe$")


def test_a_marker_that_is_no_text_is_refused(tmp_path):
    folder = folder_of(tmp_path / "site", "index.html")
    (folder / build.MARKER).write_bytes(b"\xff\xfe")
    refuses(folder, "file that no build wrote, or that was changed since: index.html$")


def test_a_file_and_a_link_are_refused(tmp_path):
    target = folder_of(tmp_path / "target")
    target.mkdir()
    (tmp_path / "link").symlink_to(target)
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    (tmp_path / "file").touch()
    for name, kind in (("link", "link"), ("dangling", "link"), ("file", "file")):
        refuses(tmp_path / name, f"got a {kind}$")


@pytest.mark.parametrize("folder", [".", "/", str(ROOT), str(ROOT / "notebooks"), "..", ""])
def test_no_folder_that_holds_the_course_is_replaced(folder, monkeypatch):
    monkeypatch.chdir(ROOT)
    with pytest.raises(ValueError, match="expected a new or empty folder, or an earlier site"):
        build.build(Path(folder))


def test_an_earlier_site_is_replaced_and_nothing_outside_it(tmp_path):
    outside = folder_of(tmp_path / "outside", "kept.txt")
    site, new = folder_of(tmp_path / "site", "old/page.html", "both.js"), tmp_path / "new"
    (site / "old" / "link").symlink_to(outside)
    marked(site)
    folder_of(new, "both.js", "api/page.html")
    build.check_replaceable(site)
    build.replace(site, new)
    assert sorted(build.files(site)) == [build.MARKER, "api/page.html", "both.js"]
    assert (outside / "kept.txt").exists()
    build.check_replaceable(site)


@pytest.mark.parametrize("moves", range(4))
def test_a_build_that_was_interrupted_can_be_repeated(tmp_path, monkeypatch, moves):
    site = marked(folder_of(tmp_path / "site", "a.js", "b/c.html"))
    left = [moves]
    replace = Path.replace

    def interrupted(self, target):
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", interrupted)
    with contextlib.suppress(KeyboardInterrupt):
        build.replace(site, folder_of(tmp_path / "new", "a.js", "d.js"))
    monkeypatch.undo()
    build.check_replaceable(site)


def test_a_build_that_fails_leaves_the_earlier_site(tmp_path, monkeypatch):
    site = marked(folder_of(tmp_path / "site", "index.html"))
    monkeypatch.setattr(build, "Reference", None)
    with pytest.raises(TypeError):
        build.build(site)
    assert [path.name for path in tmp_path.iterdir()] == ["site"]
    assert (site / "index.html").read_text() == "keep"


def small_build(tmp_path, *cells, name="a.ipynb", site=None, repository=None):
    """Build the site of one notebook and of an empty package."""
    notebooks = folder_of(tmp_path / "notebooks")
    package = folder_of(tmp_path / "package", "__init__.py")
    (package / "__init__.py").write_text('"""A package."""\n')
    notebooks.mkdir(exist_ok=True)
    nbformat.write(nbformat.v4.new_notebook(cells=[*cells]), notebooks / name)
    build.build(site or tmp_path / "site", notebooks, package, {}.get, repository)


TITLE = nbformat.v4.new_markdown_cell("# Title")


def displayed(**data):
    return nbformat.v4.new_code_cell("show()", outputs=[
        nbformat.v4.new_output("display_data", data)])


@pytest.mark.parametrize(("cells", "name", "reason"), [
    ((), "a.ipynb", "expected a heading, which names the page, got none"),
    ((nbformat.v4.new_markdown_cell("some text"),), "a.ipynb", "expected a heading"),
    ((TITLE, nbformat.v4.new_markdown_cell(r"$\frac{1$")), "a.ipynb", "Error: Expected closing"),
    ((TITLE, displayed(**{"image/svg+xml": "<svg/>"})), "a.ipynb", "output: expected text/plain"),
    ((TITLE, displayed()), "a.ipynb", "output: expected text/plain among its types, got []"),
    *(((TITLE, displayed(**{WIDGET: data})), "a.ipynb", f"{WIDGET}: expected a module and a state")
      for data in ({"state": {}}, {"module": "a.js"}, ["a.js"])),
    *(((TITLE,), name, "name: expected letters, digits")
      for name in ("index.ipynb", "a#b.ipynb", "a?b.ipynb", "a%20b.ipynb", "a\u2028b.ipynb")),
])
def test_a_notebook_without_a_page_is_named_in_one_line(tmp_path, cells, name, reason):
    with pytest.raises(ValueError, match=f"^{re.escape(f'{name}: {reason}')}") as refusal:
        small_build(tmp_path, *cells, name=name)
    assert "\n" not in str(refusal.value)
    assert not any((tmp_path / "site").glob("*"))


@pytest.mark.parametrize("text", [
    "", "[]", "null", "{}", "version https://git-lfs", '{"cells": 3}'])
def test_a_file_that_is_no_notebook_is_named_in_one_line(tmp_path, text):
    small_build(tmp_path, TITLE)
    (tmp_path / "notebooks" / "b.ipynb").write_text(text)
    with pytest.raises(ValueError, match=r"^b\.ipynb: [^\n]+$"):
        small_build(tmp_path, TITLE)


def test_a_site_may_lie_beside_what_it_is_made_of(tmp_path, monkeypatch):
    figures = folder_of(tmp_path / "figures", "drawn by hand.svg")
    (tmp_path / "README.md").write_text("no chapters")
    monkeypatch.setattr(build, "ROOT", tmp_path)
    (tmp_path / "notebooks").mkdir()
    for folder in (figures, tmp_path / "notebooks"):
        for _ in range(2):                              # the second replaces the first
            small_build(tmp_path, TITLE, site=folder / "site")
        assert sorted(path.name for path in (folder / "site" / "figures").iterdir()) == [
            "drawn by hand.svg"]


@pytest.mark.parametrize("module", ["../explorer.py", "/etc/passwd", "js/axes.js", "a.js\n", "",
                                    'a.js" onload="x', None, ["a.js"], 5])
def test_a_notebook_cannot_bring_another_file_into_the_site(module):
    output = nbformat.v4.new_output("display_data", {
        WIDGET: {"module": module, "state": {}}})
    body = Body({})
    with pytest.raises(ValueError, match=r"^module: expected the name of a JavaScript file, got "):
        body.output(output)
    assert body.widgets == {}


def test_no_tag_in_a_widget_s_data_ends_or_hides_the_page():
    html = Body({}).widget({"module": "a.js", "state": {"text": "</script><!--<script>"}}, "")
    data = html.split('json">')[1].split("</script>")[0]
    assert "<" not in data
    assert json.loads(data) == {"text": "</script><!--<script>"}


def test_workflow_builds_and_publishes_the_site():
    workflow = yaml.safe_load((ROOT / ".github/workflows/pages.yml").read_text())
    *_, make, upload = workflow["jobs"]["build"]["steps"]
    assert make["run"] == "make site"
    assert upload["with"]["path"] == "site"
    assert workflow["jobs"]["deploy"]["needs"] == "build"
