"""The course in Chromium: its chapters in JupyterLab, its explorers there, in Notebook 7 and in
the widget manager of VS Code.

The chapters and Notebook 7 take minutes, and VS Code's widget manager comes from npm's registry:
`make test` leaves these to `make browser`, as their mark says.

Needs Chromium or Chrome. Without one the tests are skipped with a warning; where the environment
variable MINIMAMBA_NEEDS_BROWSER is set, as in CI, they fail instead.
"""

import base64
import hashlib
import io
import json
import os
import platform
import re
import secrets
import shutil
import socket
import subprocess
import sys
import tarfile
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

import nbformat
import pytest
from PIL import Image

from minimamba.course import widgets

sys.path.append(str(Path(__file__).parent.parent / "tools"))
import copies

ROOT = Path(__file__).parent.parent
pytestmark = pytest.mark.browser

CHAPTERS = sorted(path.name for path in (ROOT / "notebooks").glob("*.ipynb"))
EXPLORER = "[class*=minimamba-][class*=-explorer]"
PICTURE = "img[alt], svg[aria-label]"
SLIDER = "input[type=range]"
AT_ITS_END = "e => e.value == e.max"


@pytest.fixture(scope="module")
def browser(browser):
    """A browser whose tabs share a cache, so that only the first loads all of JupyterLab."""
    return browser.new_context(viewport={"width": 1400, "height": 2400})


@pytest.fixture(scope="module")
def lab(browser, server):
    """JupyterLab with a notebook that shows every explorer, shared by the tests of one explorer."""
    page = open_and_run(browser, server("every.ipynb"))
    page.shared = True
    yield page
    page.evaluate("jupyterapp.serviceManager.sessions.shutdownAll()")
    page.close()


@pytest.fixture(autouse=True)
def no_errors(browser):
    """After a test its own pages are closed, and no page has reported an error."""
    yield
    errors = [error for page in browser.pages for error in page.errors]
    for page in browser.pages:
        page.errors.clear()
        if not page.shared:
            page.evaluate(SHUTDOWN)
            page.close()
    assert errors == []


# The kernel of every.ipynb is that of the shared page, which would miss it.
SHUTDOWN = """() => {
    const session = window.jupyterapp?.shell.currentWidget?.sessionContext;
    return session?.path.endsWith("every.ipynb") || session?.shutdown();
}"""


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """JupyterLab on a copy of the notebooks, with settings and state of its own."""
    home = tmp_path_factory.mktemp("jupyter")
    for folder in ("notebooks", "benchmarks", "figures"):
        shutil.copytree(ROOT / folder, home / "course" / folder)
    for path in (home / "course" / "notebooks").glob("*.ipynb"):
        book = nbformat.read(path, as_version=4)
        for cell in book.cells:                    # so that all outputs come from the test's run
            if cell.cell_type == "code":
                cell.outputs, cell.execution_count = [], None
        nbformat.write(book, path)
    every = nbformat.v4.new_notebook(cells=[
        nbformat.v4.new_code_cell(f"from minimamba.course import widgets\n"
                                  f"{name} = widgets.{name}()\n{name}")
        for name in widgets.__all__],
        metadata={"kernelspec": {"display_name": "Python 3", "language": "python",
                                 "name": "python3"}})
    nbformat.write(every, home / "course" / "notebooks" / "every.ipynb")
    shutil.copytree(ROOT / "tools" / "labextension",
                    home / "jupyter_data_dir" / "labextensions" / "minimamba")
    (home / "settings").mkdir()
    settings = json.loads((ROOT / "tools" / "jupyterlab_overrides.json").read_text())
    settings["@jupyterlab/docmanager-extension:plugin"]["autosave"] = False
    (home / "settings" / "overrides.json").write_text(json.dumps({
        **settings,
        "@jupyterlab/notebook-extension:tracker": {"windowingMode": "none"}}))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    token = secrets.token_hex(16)
    own = {name: str(home / name.lower()) for name in (
        "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR",
        "JUPYTERLAB_SETTINGS_DIR", "JUPYTERLAB_WORKSPACES_DIR")}
    log = (home / "log").open("w")
    process = subprocess.Popen(
        [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--ip=127.0.0.1",
         f"--port={port}", "--ServerApp.port_retries=0", f"--IdentityProvider.token={token}",
         f"--ServerApp.root_dir={home / 'course'}",
         f"--LabApp.app_settings_dir={home / 'settings'}", "--LabApp.expose_app_in_browser=True",
         "--JupyterNotebookApp.expose_app_in_browser=True"],
        # The extension of this checkout goes before the one that is installed.
        env={**os.environ, **own, "JUPYTER_PREFER_ENV_PATH": "0"}, stdout=log,
        stderr=subprocess.STDOUT)
    address = f"http://127.0.0.1:{port}"
    try:
        wait_for(f"{address}/api?token={token}", process, home / "log")
        def url(name, page="lab/tree", folder="notebooks"):
            return f"{address}/{page}/{folder}/{name}?token={token}&reset"

        url.course = home / "course"
        yield url
    finally:
        process.kill()      # at once: kernels that are still there notice, and end too
        process.wait()
        log.close()


def wait_for(url, process, log, seconds=60):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        assert process.poll() is None, log.read_text()
        try:
            urllib.request.urlopen(url, timeout=5).close()
            return
        except (urllib.error.URLError, TimeoutError):
            time.sleep(0.3)
    pytest.fail(f"JupyterLab did not answer in {seconds} s:\n{log.read_text()}")


def opened(browser, url):
    """A page with the notebook, and its kernel ready."""
    page = browser.new_page()
    page.shared = False
    page.errors = []
    page.on("pageerror", lambda error: page.errors.append(str(error)))
    page.on("console", lambda message: page.errors.append(
        f"{message.text} {message.location['url']}") if message.type == "error" else None)
    page.set_default_timeout(90_000)
    page.goto(url)
    page.wait_for_function("window.jupyterapp?.shell.currentWidget?.sessionContext?.session"
                           "?.kernel?.status == 'idle'")
    return page


def open_and_run(browser, url):
    """A page on which every cell of the notebook has run without an error."""
    page = opened(browser, url)
    page.evaluate("""() => {
        jupyterapp.commands.execute("notebook:run-all-cells").then((ran) => { window.ran = ran; });
    }""")
    page.wait_for_function("'ran' in window", timeout=600_000)
    if not page.evaluate("ran"):
        error = page.locator('[data-mime-type="application/vnd.jupyter.error"]')
        pytest.fail(error.first.inner_text())
    return page


# What would disturb a reader of the page, a line each.
FLAWS = """() => {
    const all = (selector) => [...document.querySelectorAll(`.jp-Notebook :is(${selector})`)];
    const text = (element) => element.textContent.trim().slice(0, 80);
    // JupyterLab drops the alternative text of a saved picture; its caption says the same.
    const captioned = (image) => image.closest(".jp-OutputArea-child").nextElementSibling
        ?.querySelector(".jp-RenderedMarkdown em")?.textContent.length > 40;
    const prose = all(".jp-RenderedMarkdown").map((element) => {
        const copy = element.cloneNode(true);
        copy.querySelectorAll("code, mjx-container").forEach((part) => part.remove());
        return copy;
    });
    return [
        ...all("img").filter((image) => !image.alt && !captioned(image))
            .map(() => "a picture without alternative text"),
        ...all("img").filter((image) => image.complete && !image.naturalWidth)
            .map((image) => `a missing picture: ${image.alt}`),
        ...prose.filter((element) => element.textContent.includes("$"))
            .map((element) => `a formula that was not rendered: ${text(element)}`),
        ...all("mjx-merror, [data-mjx-error]").map((error) => `a bad formula: ${text(error)}`),
        ...all(".jp-Cell, .jp-RenderedMarkdown, .jp-OutputArea-output")
            .filter((element) => element.scrollWidth > element.clientWidth + 1)
            .map((element) => `wider than the page: ${text(element)}`)];
}"""


@pytest.mark.slow
@pytest.mark.parametrize("name", CHAPTERS)
def test_a_chapter_runs_without_flaws_and_its_explorers_respond(browser, server, name):
    page = open_and_run(browser, server(name))
    every_explorer_responds(page, explorers_in(name))
    # The hidden text of a formula, for screen readers, may be wider than the page.
    page.add_style_tag(content="mjx-assistive-mml { display: none !important }")
    end = time.monotonic() + 30
    while (flaws := page.evaluate(FLAWS)) and time.monotonic() < end:
        page.wait_for_timeout(100)                 # formulas are rendered one after the other
    assert flaws == []


def save(page):
    page.evaluate("jupyterapp.commands.execute('docmanager:save')")


VERSION = r'"version": "3\.\d+\.\d+"'


def test_reading_a_chapter_leaves_nothing_to_save(browser, server):
    # The version of Python in it is that with which the course was saved last.
    text = (ROOT / "notebooks" / "05_selectivity.ipynb").read_text(encoding="utf-8")
    here = f'"version": "{platform.python_version()}"'
    (server.course / "notebooks" / "read.ipynb").write_text(
        re.sub(VERSION, here, text), encoding="utf-8")
    page = opened(browser, server("read.ipynb"))
    page.wait_for_timeout(2000)           # JupyterLab takes the kernel's language a little later
    assert not page.evaluate("jupyterapp.shell.currentWidget.context.model.dirty")
    save(page)
    saved = (server.course / "notebooks" / "read.ipynb").read_text(encoding="utf-8")
    assert json.loads(saved) == json.loads(re.sub(VERSION, here, text))
    assert page.evaluate(SHOWN_NAMES) > 0.8
    figures_follow_the_theme(page)
    page.set_viewport_size({"width": 700, "height": 2400})
    assert page.evaluate(BROKEN_WORDS) == []
    page.set_viewport_size({"width": 1400, "height": 2400})
    page.evaluate("""() => {
        jupyterapp.commands.execute("docmanager:open", {path: "notebooks/questions.md"});
    }""")
    page.locator(".jp-MarkdownViewer h1").wait_for()        # as a page, not as its source


# The fraction of the longest file name that the sidebar shows.
SHOWN_NAMES = """() => Math.min(...[...document.querySelectorAll(".jp-DirListing-itemText")]
    .map((name) => name.clientWidth / name.scrollWidth))"""


# Words that a cell printed and that stand on two lines.
BROKEN_WORDS = """() => [...document.querySelectorAll(".jp-Notebook .jp-RenderedText pre")]
    .flatMap((pre) => {
        const texts = document.createTreeWalker(pre, NodeFilter.SHOW_TEXT);
        const broken = [];
        while (texts.nextNode()) {
            for (const word of texts.currentNode.data.matchAll(/\\S{2,20}/g)) {
                const range = new Range();
                range.setStart(texts.currentNode, word.index);
                range.setEnd(texts.currentNode, word.index + word[0].length);
                if (range.getClientRects().length > 1) broken.push(word[0]);
            }
        }
        return broken;
    })"""


def figures_follow_the_theme(page):
    """Check that the ground of a figure is that of the page, and that of a photograph is not."""
    outputs = page.locator(".jp-RenderedImage img")
    filters = ".jp-Notebook img", "all => all.map((e) => getComputedStyle(e).filter)"
    change_theme(page, "Dark")
    assert len({*page.eval_on_selector_all(*filters)}) == 1
    assert corner(outputs.first) == corner(page.locator(".jp-RenderedMarkdown img")) == (17, 17, 17)
    photograph = io.BytesIO()
    Image.new("RGB", (9, 9), "white").save(photograph, "png")
    outputs.first.evaluate("(e, png) => { e.src = `data:image/png;base64,${png}`; }",
                           base64.b64encode(photograph.getvalue()).decode())
    assert corner(outputs.first) == (255, 255, 255)
    change_theme(page, "Light")
    assert {*page.eval_on_selector_all(*filters)} == {"none"}


def corner(picture):
    """The color of the first pixel of an element of the page."""
    return Image.open(io.BytesIO(picture.screenshot())).convert("RGB").getpixel((2, 2))


def test_an_answer_survives_an_update_and_can_be_reset(browser, server):
    """Open a copy, answer, run, save, come back, get a later version of the course, start again."""
    book = nbformat.read(ROOT / "notebooks" / "00_start_here.ipynb", as_version=4)
    stub = next(cell for cell in book.cells if 'exercises.check("00.1"' in cell.source)
    book.cells = [
        nbformat.v4.new_markdown_cell("# Version 1", id="title"),
        nbformat.v4.new_code_cell("from minimamba.course import exercises, widgets", id="import"),
        nbformat.v4.new_code_cell("widgets.ScanStepper()", id="explorer"), stub]
    published, mine = server.course / "published", server.course / "my_course"
    published.mkdir()
    nbformat.write(book, published / "00_start_here.ipynb")
    copies.update(published, mine)
    page = opened(browser, server("00_start_here.ipynb", folder="my_course"))
    write_and_run(page, stub.source.replace("...", "return A_bar * h + B_bar * x"))
    page.get_by_text("00.1: correct").wait_for()
    save(page)
    page.evaluate("jupyterapp.shell.currentWidget.sessionContext.shutdown()")
    page.close()

    page = opened(browser, server("00_start_here.ipynb", folder="my_course"))
    page.locator(EXPLORER).wait_for()
    every_explorer_responds(page, 1)                       # with a kernel that has run nothing
    page.close()

    book.cells[0].source = "# Version 2"
    nbformat.write(book, published / "00_start_here.ipynb")
    copies.update(published, mine)
    page = opened(browser, server("00_start_here.ipynb", folder="my_course"))
    assert page.get_by_role("heading", name="Version 2").count() == 1
    answer = page.locator(".jp-CodeCell").last
    assert "return A_bar * h + B_bar * x" in answer.inner_text()
    assert "00.1: correct" in answer.inner_text()
    write_and_run(page, 'exercises.reset("00.1")')
    page.wait_for_function("""stub => jupyterapp.shell.currentWidget.content.widgets.at(-1)
        .model.sharedModel.source === stub""", arg=stub.source)


def write_and_run(page, source):
    """Write into the last cell, and run all cells."""
    page.evaluate("""async source => {
        const {content} = jupyterapp.shell.currentWidget;
        content.widgets.at(-1).model.sharedModel.setSource(source);
        await jupyterapp.commands.execute("notebook:run-all-cells");
    }""", source)


def every_explorer_responds(page, count):
    """Check the number of explorers, and that a key on its first slider changes each picture."""
    explorers = page.locator(EXPLORER)
    assert explorers.count() == count
    for explorer in explorers.all():
        before = described(explorer)
        slider = explorer.locator(SLIDER).first
        slider.press("ArrowLeft" if slider.evaluate(AT_ITS_END) else "ArrowRight")
        changed(explorer, before)


def explorers_in(name):
    """The number of explorers in the committed chapter, by its text outputs."""
    book = nbformat.read(ROOT / "notebooks" / name, as_version=4)
    outputs = [output.get("data", {}).get("text/plain", "") for cell in book.cells
               for output in cell.get("outputs", [])]
    return sum(text.partition("(")[0] in widgets.__all__ for text in outputs)


def described(explorer):
    """The alternative text of an explorer's picture."""
    return explorer.locator(PICTURE).evaluate("e => e.alt ?? e.ariaLabel")


def changed(explorer, before, seconds=30):
    """Wait until the alternative text is another than before, and return it."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if described(explorer) != before:
            return described(explorer)
        explorer.page.wait_for_timeout(20)
    pytest.fail(f"the picture stayed at: {before}")


def drag(slider, start, end):
    """Drag from one fraction of a slider's width to another."""
    mouse, box = slider.page.mouse, slider.bounding_box()
    mouse.move(box["x"] + start * box["width"], box["y"] + box["height"] / 2)
    mouse.down()
    mouse.move(box["x"] + end * box["width"], box["y"] + box["height"] / 2, steps=5)
    mouse.up()


def execute(page, code):
    """Run code in the kernel of the page's notebook, and return what it prints."""
    return page.evaluate("""async code => {
        const {kernel} = jupyterapp.shell.currentWidget.sessionContext.session;
        const future = kernel.requestExecute({code});
        let text = "";
        future.onIOPub = ({content}) => { text += content.text ?? ""; };
        const {content} = await future.done;
        if (content.status !== "ok") throw new Error(content.evalue);
        return text;
    }""", code)


def in_python(page, code, expected, seconds=30):
    """Wait until Python knows what was set: the kernel handles widgets' messages in parallel."""
    end = time.monotonic() + seconds
    while (printed := execute(page, f"print({code})").strip()) != expected:
        assert time.monotonic() < end, f"{printed} is not {expected}"
        page.wait_for_timeout(100)


def change_theme(page, theme):
    page.evaluate("theme => jupyterapp.commands.execute('apputils:change-theme', {theme})",
                  f"JupyterLab {theme}")
    page.wait_for_selector(f"body[data-jp-theme-name='JupyterLab {theme}']", state="attached")
    # JupyterLab removes its splash screen a while later, and fails if there is another by then.
    page.wait_for_selector("#jupyterlab-splash", state="detached")


def pole(text):
    return float(re.search(r"The pole Ā is ([\d.]+\d)", text).group(1))


def test_the_delta_explorer_responds_in_both_themes_to_keyboard_and_pointer(lab):
    explorer = lab.locator(".minimamba-delta-explorer")
    slider = explorer.get_by_label("step size Δ")
    path = explorer.locator("path.state").get_attribute("d")
    for theme in ("Dark", "Light"):
        change_theme(lab, theme)
        background = explorer.evaluate("e => getComputedStyle(e).backgroundColor")
        assert (sum(map(int, re.findall(r"\d+", background))) > 382) == (theme == "Light")
    before = pole(described(explorer))
    slider.focus()
    for _ in range(5):
        lab.keyboard.press("ArrowRight")
    by_keyboard = pole(described(explorer))
    assert by_keyboard < before                        # a larger step decays faster
    assert explorer.locator("path.state").get_attribute("d") != path
    drag(slider, 0.45, 0.2)
    assert pole(described(explorer)) > by_keyboard


def test_settings_go_from_the_browser_to_python_and_back(lab):
    explorer = lab.locator(".minimamba-scan-explorer")
    explorer.get_by_role("slider", name="length").press("ArrowRight")
    explorer.get_by_role("radio", name="Hillis-Steele").press("ArrowLeft")
    explorer.get_by_role("slider", name="level").press("ArrowRight")
    text = "sequential, level 1 of 8: 1 of 8 combine operations done, 2 of 9 states complete."
    assert described(explorer) == text
    in_python(lab, "ScanStepper.value, ScanStepper.caption",
              "{'order': 'sequential', 'length': 9, 'level': 1} " + text)
    execute(lab, "ScanStepper.order = 'Blelloch'; ScanStepper.level = 2")
    assert changed(explorer, text) == (
        "Blelloch, level 2 of 5: 6 of 12 combine operations done, 3 of 9 states complete.")


def test_an_explorer_fits_beside_the_sidebar_at_200_percent(lab):
    """JupyterLab zoomed to 200 % on a screen of 1,280 × 1,600 has half of both."""
    lab.set_viewport_size({"width": 640, "height": 1600})
    try:
        assert lab.locator("#jp-left-stack").is_visible()
        lab.wait_for_function("""() => document.querySelectorAll(".minimamba-explorer").length
            && [...document.querySelectorAll(".minimamba-explorer")].every((explorer) =>
                explorer.querySelector(".picture").clientWidth < 400)""")
        for explorer in lab.locator(EXPLORER).all():
            output = explorer.locator("xpath=ancestor::*[contains(@class, 'jp-OutputArea-output')]")
            assert explorer.bounding_box()["width"] <= output.last.bounding_box()["width"]
            sizes = explorer.locator("svg text, label, p, button").evaluate_all(
                "all => all.map((text) => parseFloat(getComputedStyle(text).fontSize))")
            assert min(sizes) >= 11
    finally:
        lab.set_viewport_size({"width": 1400, "height": 2400})


def test_values_and_presets_keep_their_keys_from_jupyterlab(lab):
    cells = lab.locator(".jp-Cell").count()
    explorer = lab.locator(".minimamba-roofline-explorer")
    reader = explorer.locator(".reader")
    reader.focus()
    reader.press("ArrowRight")                          # in JupyterLab, arrows choose a cell
    assert "per byte" in reader.get_attribute("aria-valuetext")
    before = described(explorer)
    explorer.get_by_role("button", name="half fused").press("Enter")
    assert "moves 80 bytes" in changed(explorer, before)
    in_python(lab, "RooflineExplorer.passes", "1")
    explorer.get_by_role("button", name="Reset").press(" ")
    in_python(lab, "RooflineExplorer.passes", "15")
    assert lab.locator(".jp-Cell").count() == cells


def test_the_hippo_explorer_is_drawn_by_the_browser_and_known_to_python(lab):
    explorer = lab.locator(".minimamba-hippo-explorer")
    assert "N = 33, the last 6.00 s" in described(explorer)
    explorer.get_by_label("state dimension N").press("ArrowRight")
    drag(explorer.get_by_label("current time, s"), 0.6, 0.2)
    explorer.get_by_label("LegS, whole past").press("ArrowRight")
    text, time = described(explorer), explorer.get_by_label("current time, s").input_value()
    assert "N = 35, the last 2.00 s (160 samples)" in text
    in_python(lab, "HippoExplorer.value, HippoExplorer.caption",
              f"{{'d_state': 35, 'time': {time}, 'measure': 'legt'}} {text}")
    execute(lab, "HippoExplorer.d_state = 9")
    assert "N = 9" in changed(explorer, text)
    assert explorer.get_by_label("state dimension N").input_value() == "9"


def test_the_token_explorer_keeps_what_is_typed_from_jupyterlab(lab):
    cells = lab.locator(".jp-Cell").count()
    explorer = lab.locator(".minimamba-token-explorer")
    field = explorer.get_by_label("tokens")
    field.focus()
    field.press("ControlOrMeta+a")
    lab.keyboard.type("..a..b..")                       # in JupyterLab, a and b insert cells
    assert described(explorer) == ("After ..a..b.. the state consists of: noise 2%, a 5%, b 93%.")
    position = explorer.get_by_label("override Δ at token")
    for _ in range(6):                                  # the b
        position.press("ArrowRight")
    for _ in range(30):
        explorer.get_by_label("Δ at that token").press("ArrowLeft")
    text = described(explorer)
    fractions = re.search(r"a (\d+)%, b (\d+)%", text)
    assert int(fractions[1]) > int(fractions[2])        # with a small Δ the b was skipped
    assert lab.locator(".jp-Cell").count() == cells
    in_python(lab, "TokenExplorer.position, TokenExplorer.position_delta, TokenExplorer.caption",
              f"6 0.0316228 {text}")
    execute(lab, "TokenExplorer.tokens = 'ab'")
    assert changed(explorer, text).startswith("After ab the state consists of: a ")
    assert field.input_value() == "ab"
    assert position.get_attribute("aria-valuetext") == "2: b"


def test_the_state_explorer_keeps_what_is_typed_and_follows_it(lab):
    cells = lab.locator(".jp-Cell").count()
    explorer = lab.locator(".minimamba-state-explorer")
    text, field = described(explorer), explorer.get_by_label("text")
    field.press("ControlOrMeta+a")
    lab.keyboard.type("bé = a\n")                      # in JupyterLab, b and a insert cells
    assert field.input_value() == "bé = a\n"
    text = changed(explorer, text)
    for label, expected in (("layer", "Layer 1, channel 0"), ("channel", "Layer 1, channel 1")):
        explorer.get_by_role("slider", name=label).press("ArrowRight")
        while not text.startswith(expected):            # the typed letters come one by one
            text = changed(explorer, text)
    in_python(lab, "StateExplorer.value", "{'text': 'b = a\\n', 'layer': 1, 'channel': 1}")
    execute(lab, "StateExplorer.text = 'x = 1'; StateExplorer.channel = 0")
    assert changed(explorer, text).startswith("Layer 1, channel")
    assert field.input_value() == "x = 1"
    assert lab.locator(".jp-Cell").count() == cells


@pytest.mark.slow
def test_every_explorer_responds_in_notebook_7(browser, server, lab):
    page = open_and_run(browser, server("every.ipynb", "notebooks"))    # in the same kernel
    every_explorer_responds(page, len(widgets.__all__))
    assert page.evaluate("'minimamba' in _JUPYTERLAB")                  # figures follow its theme
    # Errors of Notebook 7 itself, on pages without widgets too. (The second comes if JupyterLab
    # was open before, whose workspace it reads.)
    known = "(reading 'schema')", "'filebrowser:open-path' not registered"
    page.errors = [error for error in page.errors if not any(text in error for text in known)]


# From npm's registry, with the hash that it gives.
REGISTRY = "https://registry.npmjs.org"
VSCODE = {"require.js": ("requirejs/-/requirejs-2.3.8.tgz",
                         "sha512-7/cTSLOdYkNBNJcDMWf+luFvMriVm7eYxp4BcFCsAX0wF421Vyce5SXP17c+Jd5ot"
                         "XKGNehIonFlyQXSowL6Mw=="),
          "dist/ipywidgets.js": ("@vscode/jupyter-ipywidgets8/-/jupyter-ipywidgets8-1.0.9.tgz",
                                 "sha512-bocCThfa4JDIDd7qCFAfW3HpzHfTLYxOTpTbiDfw4DXOUjKHnr6ObkMBiIku"
                                 "zYPRybh5bY4FhYLemuDuTvIbpQ==")}
# VS Code's widget manager on a page of JupyterLab, with JupyterLab's connection to a kernel. What
# VS Code does around it is done here: it finds scripts, and gives each view an element.
SHOW = """async code => {
    (await import("/vscode/ipywidgets.js")).activate();
    vscIPyWidgets8.load();
    const {kernel} = await jupyterapp.serviceManager.sessions.startNew(
        {path: "vscode", name: "vscode", type: "console", kernel: {name: "python3"}});
    await kernel.info;
    const ground = document.createElement("div");
    ground.style = "position: fixed; inset: 0; overflow: auto; z-index: 9999; background: white";
    document.body.append(ground);
    const manager = new vscIPyWidgets.WidgetManager(kernel, ground, {
        widgetsRegisteredInRequireJs: new Set(),
        loadWidgetScript: (name) =>
            requirejs.config({paths: {[name]: `/nbextensions/${name}/index`}}),
        successHandler() {},
        errorHandler: (className, moduleName, version, error) => console.error(error)}, () => {});
    window.execute = async (code) => {
        const future = kernel.requestExecute({code}), outputs = [];
        future.onIOPub = ({content}) => outputs.push(content);
        const {content} = await future.done;
        if (content.status !== "ok") throw new Error(content.evalue);
        return outputs;
    };
    const shown = (await execute(code))
        .map(({data}) => data?.["application/vnd.jupyter.widget-view+json"]?.model_id);
    for (const id of shown.filter(Boolean)) {
        const node = ground.appendChild(document.createElement("div"));
        const view = await manager.create_view(await manager.get_model(id));
        await manager.display_view(null, view, {node});
    }
}"""


@pytest.fixture(scope="module")
def vscode():
    """VS Code's widget manager and the script loader that it needs, by file name."""
    files = {}
    for name, (address, integrity) in VSCODE.items():
        with urllib.request.urlopen(f"{REGISTRY}/{address}", timeout=60) as answer:
            packed = answer.read()
        digest = base64.b64encode(hashlib.sha512(packed).digest()).decode()
        assert f"sha512-{digest}" == integrity
        with tarfile.open(fileobj=io.BytesIO(packed)) as package:
            files[Path(name).name] = package.extractfile(f"package/{name}").read().decode()
    return files


@pytest.mark.slow
def test_every_explorer_responds_in_the_widget_manager_of_vs_code(browser, server, vscode):
    page = opened(browser, server("every.ipynb"))
    amd = Path(sys.prefix, "share/jupyter/nbextensions/anywidget/index.js")
    files = {"vscode/ipywidgets.js": vscode["ipywidgets.js"],
             "nbextensions/anywidget/index.js": amd.read_text()}
    page.route(re.compile("|".join(files)), lambda route: route.fulfill(
        body=files[urllib.parse.urlsplit(route.request.url).path[1:]],
        content_type="text/javascript"))
    page.add_script_tag(content=vscode["require.js"])
    page.evaluate(SHOW, f"""
from minimamba.course import widgets
explorers = [getattr(widgets, name)() for name in {widgets.__all__}]
before = [explorer.value for explorer in explorers]
display(*explorers)""")
    every_explorer_responds(page, len(widgets.__all__))
    end = time.monotonic() + 30
    while not page.evaluate("""execute("for one, then in zip(explorers, before):"
            + " assert one.value != then").then(() => true, () => false)"""):
        assert time.monotonic() < end, "Python does not know what was set"
    # JupyterLab and VS Code each bring one copy; a page of VS Code has only its own.
    page.errors = [error for error in page.errors if "Yjs was already imported" not in error]
