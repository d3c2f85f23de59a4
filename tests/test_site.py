"""The course as static pages, in Chromium: whole, alive and searchable, and asking no one else."""

import functools
import http.server
import importlib.util
import re
import sys
import threading
from html import unescape
from pathlib import Path
from urllib.parse import unquote, urldefrag, urlsplit

import nbformat
import pytest
import yaml

ROOT = Path(__file__).parent.parent
CHAPTERS = sorted(path.stem for path in (ROOT / "notebooks").glob("*.ipynb"))
MODULE = """
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
pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def builder():
    folder = ROOT / "tools" / "site"
    sys.path.insert(0, str(folder))
    spec = importlib.util.spec_from_file_location("build", folder / "build.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    sys.path.remove(str(folder))


def built(builder, folder, **options):
    builder.build(folder, **options)
    return folder


@pytest.fixture(scope="module")
def site(builder, tmp_path_factory):
    return built(builder, tmp_path_factory.mktemp("site"))


@pytest.fixture(scope="module")
def other_site(builder, tmp_path_factory):
    """A notebook with a widget that needs no kernel, one with a formula that LaTeX alone reads."""
    notebooks = tmp_path_factory.mktemp("notebooks")
    widget = {"module": "counter.js", "state": {"count": 1, "unit": "</script> & 3"}}
    still = (ROOT / "notebooks" / f"{CHAPTERS[0]}.ipynb").read_text(encoding="utf-8")
    png = re.search(r'"image/png": "(.+?)"', still).group(1).replace("\\n", "")
    output = nbformat.v4.new_output(
        "execute_result", {"application/vnd.minimamba.widget+json": widget, "image/png": png,
                           "text/plain": "Counter()"}, metadata={"image/png": {"alt": "one"}})
    nbformat.write(nbformat.v4.new_notebook(cells=[
        nbformat.v4.new_markdown_cell("# A widget\n\n## Here"),
        nbformat.v4.new_code_cell("Counter()", outputs=[output]),
    ]), notebooks / "00_widget.ipynb")
    return built(builder, tmp_path_factory.mktemp("other"), notebooks=notebooks,
                 module={"counter.js": MODULE}.get)


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
        pass


@pytest.fixture(scope="module")
def served(site):
    handler = functools.partial(Quiet, directory=str(site))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture
def page(browser):
    """A page that remembers what it asked for and what went wrong."""
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.set_default_timeout(10_000)
    page.asked, page.wrong = [], []
    page.on("request", lambda request: page.asked.append(request.url))
    page.on("requestfailed", lambda request: page.wrong.append(request.url))
    page.on("response", lambda it: page.wrong.append(it.url) if it.status >= 400 else None)
    page.on("console", lambda said: page.wrong.append(said.text) if said.type == "error" else None)
    page.on("pageerror", lambda error: page.wrong.append(str(error)))
    yield page
    page.close()


@pytest.fixture(scope="module")
def names(site):
    """Every page with the names that a link can point at."""
    return {path.name: set(map(unescape, re.findall(r'\bid="([^"]*)"', path.read_text("utf-8"))))
            for path in site.glob("*.html")}


def leads_somewhere(link, here, site, names):
    address, name = urldefrag(unquote(link))
    address = address or here
    if urlsplit(address).scheme:
        return re.fullmatch(r"https://[\w.-]+\.\w+(/\S*)?", address)
    return (site / address).is_file() and (not name or name in names[address])


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_a_chapter_is_whole_and_asks_no_one_else(chapter, site, served, names, page):
    page.goto(f"{served}/{chapter}.html", wait_until="load")
    assert {urlsplit(url).netloc for url in page.asked if not url.startswith(("data:", "blob:"))} \
        == {urlsplit(served).netloc}
    assert page.locator("main h1").count() == 1

    links = page.locator("a[href]").evaluate_all("all => all.map(a => a.getAttribute('href'))")
    assert [a for a in links if not leads_somewhere(a, f"{chapter}.html", site, names)] == []
    assert page.locator("main a[href$='.svg'] img").count() >= 1
    assert page.locator("figure:not(:has(a)):not(:has(.note))").count() == 0   # each has its SVG
    assert page.locator("img:not([alt]), img[alt='']").count() == 0
    pictures = page.locator("img").evaluate_all("all => all.map(i => i.naturalWidth)")
    assert all(pictures)

    notebook = nbformat.read(ROOT / "notebooks" / f"{chapter}.ipynb", 4)
    prose = "".join(c.source for c in notebook.cells if c.cell_type == "markdown")
    assert (page.locator("math").count() > 0) == ("$" in prose)
    page.wait_for_function("[...document.querySelectorAll('.widget .still')].every(e => e.hidden)")
    page.locator("pre, code").evaluate_all("all => all.forEach(code => code.remove())")
    assert not re.search(r"\$|\\[a-zA-Z]+", page.locator("main").inner_text())

    page.set_viewport_size({"width": 400, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= 400
    assert page.wrong == []


def test_the_glossary_is_a_page_whose_words_the_search_finds(site, served, names, page):
    page.goto(f"{served}/glossary.html")
    links = page.locator("a[href]").evaluate_all("all => all.map(a => a.getAttribute('href'))")
    assert [a for a in links if not leads_somewhere(a, "glossary.html", site, names)] == []
    assert page.locator("nav [aria-current=page]").inner_text() == "Glossary"
    entries = page.locator("main tbody tr").evaluate_all("all => all.map(row => row.id)")
    assert all(entries)
    assert len(entries) == len(set(entries)) > 60

    page.keyboard.press("/")
    page.keyboard.type("grouped queries")
    page.locator("form[role=search] li a[href='glossary.html#grouped-queries']").click()
    assert page.locator("[id='grouped-queries']").is_visible()
    assert page.wrong == []


def test_formulas_are_set_in_the_font_beside_the_pages(served, page):
    page.goto(f"{served}/04_s4.html")
    assert page.evaluate("document.fonts.ready.then(() => "
                         "document.fonts.check('16px \"Course Math\"', 'Δ'))")
    fraction = page.locator("mfrac").first.bounding_box()
    above, below = page.locator("mfrac").first.locator("> *").all()
    assert above.bounding_box()["y"] < below.bounding_box()["y"]
    assert fraction["height"] > above.bounding_box()["height"] + below.bounding_box()["height"]


def test_what_a_formula_cannot_say_stops_the_build(builder):
    with pytest.raises(Exception, match="nosuchcommand"):
        builder.prose.render(r"Here $\nosuchcommand$ is.")


def test_search_by_keyboard(served, page):
    page.goto(f"{served}/index.html")
    page.keyboard.press("/")
    page.keyboard.type("Discount factor")
    found = page.locator("form[role=search] li a")
    found.first.wait_for()
    said = page.locator("form[role=search] [role=status]")
    assert said.inner_text().endswith("sections")
    assert {m.lower() for m in page.locator("mark").all_inner_texts()} == {"discount", "factor"}
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowUp")
    goal = page.evaluate("document.activeElement.href")
    assert goal.endswith(found.first.get_attribute("href"))
    page.keyboard.press("Enter")
    page.wait_for_url(goal)
    assert "discount-factor" in page.url
    top = page.locator(f"[id='{unquote(urlsplit(page.url).fragment)}']").bounding_box()["y"]
    assert 0 <= top < 900                              # the section is in view, below the header

    page.keyboard.press("/")
    page.keyboard.type("zebrafish")
    page.get_by_text("Nothing found").wait_for()
    page.keyboard.press("Escape")
    assert page.get_by_role("searchbox").input_value() == ""
    assert page.wrong == []


def test_the_first_tab_skips_to_the_chapter(served, page):
    page.goto(f"{served}/index.html")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the chapter"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.tagName") == "MAIN"


def test_solutions_are_folded_on_the_screen_and_printed_on_paper(served, page):
    page.goto(f"{served}/02_discretization_and_delta.html")
    solution = page.locator("main details pre").first
    assert not solution.is_visible()
    page.locator("main summary").first.click()
    assert solution.is_visible()
    page.locator("main summary").first.click()
    page.emulate_media(media="print")
    assert solution.is_visible()
    assert not page.locator("header, nav").first.is_visible()
    assert page.pdf(format="A4").startswith(b"%PDF")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_words_stand_out_from_their_page(served, page, scheme):
    page.emulate_media(color_scheme=scheme)
    page.goto(f"{served}/02_discretization_and_delta.html")
    contrast = page.evaluate("""() => {
        const channel = c => (c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
        const light = colour => colour.match(/\\d+/g).slice(0, 3)
            .reduce((sum, c, i) => sum + channel(c) * [0.2126, 0.7152, 0.0722][i], 0);
        const ground = e => /^rgba.* 0\\)$/.test(getComputedStyle(e).backgroundColor)
            ? ground(e.parentElement) : getComputedStyle(e).backgroundColor;
        return [...document.querySelectorAll("body p, body a, body pre span, samp, summary")]
            .filter(e => e.checkVisibility()).map(e => {
                const [a, b] = [getComputedStyle(e).color, ground(e)].map(light);
                return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
            });
    }""")
    assert len(contrast) > 500
    assert min(contrast) > 4.5


def answers(page):
    button = page.locator(".widget button")
    button.wait_for()
    assert not page.locator(".widget .still").is_visible()
    assert button.inner_text() == "1 of </script> & 3"
    button.focus()
    page.keyboard.press("ArrowRight")
    assert button.inner_text() == "2 of </script> & 3"
    button.click()
    assert button.inner_text() == "3 of </script> & 3"
    assert page.wrong == []


def test_a_widget_answers_to_key_and_mouse_from_a_folder_on_the_disk(other_site, page):
    page.goto((other_site / "index.html").as_uri())
    answers(page)
    assert {urlsplit(url).scheme for url in page.asked} <= {"file", "blob", "data"}


def test_without_javascript_a_widget_is_its_still_picture(other_site, browser):
    page = browser.new_context(java_script_enabled=False).new_page()
    page.goto((other_site / "index.html").as_uri())
    assert page.locator(".widget .still img").is_visible()
    assert not page.get_by_role("search").is_visible()
    page.context.close()


def test_the_workflow_builds_the_site_and_publishes_it():
    workflow = yaml.safe_load((ROOT / ".github/workflows/pages.yml").read_text())
    *_, make, upload = workflow["jobs"]["build"]["steps"]
    assert make["run"] == "make site"
    assert upload["with"]["path"] == "site"
    assert workflow["jobs"]["deploy"]["needs"] == "build"


def test_another_folder_is_not_swept_away(builder, tmp_path):
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(ValueError, match="holds something else"):
        builder.build(tmp_path)
    assert (tmp_path / "mine.txt").read_text() == "keep"
