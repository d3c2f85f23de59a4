"""JupyterLab in a real browser: the explorers answer to hand and key, and every chapter runs.
The explorers are seen in Notebook 7 too, which the same server serves, and in VS Code's widget
manager.

The chapters take minutes, and VS Code's manager comes from npm's registry: `make test` leaves
both to `make browser`, as their mark says.

Needs Chromium or Chrome. Without one the tests are skipped, loudly; where the environment
variable MINIMAMBA_NEEDS_BROWSER is set, as in CI, they fail instead.
"""

import base64
import hashlib
import io
import json
import os
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

from minimamba.course import widgets

ROOT = Path(__file__).parent.parent
pytestmark = pytest.mark.browser

CHAPTERS = sorted(path.name for path in (ROOT / "notebooks").glob("*.ipynb"))
EXPLORERS = [name for name in widgets.__all__ if name != "module"]
# Drawn by Python or in the browser: what both kinds of explorer have.
EXPLORER = "[class*=minimamba-][class*=-explorer]"
DRAWING = "img[alt], svg[aria-label]"
SLIDER = "input[type=range]"
AT_ITS_END = "e => e.value == e.max"


@pytest.fixture(scope="module")
def browser(browser):
    """Its tabs share a cache, so that only the first must load all of JupyterLab."""
    return browser.new_context(viewport={"width": 1400, "height": 2400})


@pytest.fixture(autouse=True)
def tidy(browser):
    """After a test its kernel ends and its tab is closed, and nothing has gone wrong there."""
    yield
    wrong = [said for page in browser.pages for said in page.wrong]
    for page in browser.pages:
        page.evaluate("window.jupyterapp?.serviceManager.sessions.shutdownAll()")
        page.close()
    assert wrong == []


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """JupyterLab on a copy of the notebooks, with settings and state of its own."""
    home = tmp_path_factory.mktemp("jupyter")
    for folder in ("notebooks", "benchmarks", "figures"):
        shutil.copytree(ROOT / folder, home / "course" / folder)
    for path in (home / "course" / "notebooks").glob("*.ipynb"):
        book = nbformat.read(path, as_version=4)
        for cell in book.cells:                    # what is seen later has been run there
            if cell.cell_type == "code":
                cell.outputs, cell.execution_count = [], None
        nbformat.write(book, path)
    for name, shown in (("delta", ["DeltaExplorer"]), ("hippo", ["HippoExplorer"]),
                        ("token", ["TokenExplorer"]), ("scan", ["ScanStepper"]),
                        ("state", ["StateExplorer"]), ("every", EXPLORERS)):
        book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(
            f"from minimamba.course.widgets import {widget}\n{widget}()") for widget in shown],
            metadata={"kernelspec": {"display_name": "Python 3", "language": "python",
                                     "name": "python3"}})
        nbformat.write(book, home / "course" / "notebooks" / f"{name}.ipynb")
    (home / "settings").mkdir()
    (home / "settings" / "overrides.json").write_text(json.dumps({
        **json.loads((ROOT / "tools" / "jupyterlab_overrides.json").read_text()),
        "@jupyterlab/docmanager-extension:plugin": {"autosave": False},
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
        env={**os.environ, **own}, stdout=log, stderr=subprocess.STDOUT)
    address = f"http://127.0.0.1:{port}"
    try:
        wait_for(f"{address}/api?token={token}", process, home / "log")
        yield lambda name, page="lab/tree": (
            f"{address}/{page}/notebooks/{name}?token={token}&reset")
    finally:
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:  # it waits long for kernels that are still there
            process.kill()                 # the kernels notice, and go too
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
    page.wrong = []
    page.on("pageerror", lambda error: page.wrong.append(str(error)))
    page.on("console", lambda said: page.wrong.append(said.text) if said.type == "error" else None)
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


# What a reader of the page would stumble over, a line each.
FLAWS = """() => {
    const all = (selector) => [...document.querySelectorAll(`.jp-Notebook :is(${selector})`)];
    const words = (element) => element.textContent.trim().slice(0, 80);
    // JupyterLab leaves out the words that a saved picture has; its caption says the same.
    const captioned = (image) => image.closest(".jp-OutputArea-child").nextElementSibling
        ?.querySelector(".jp-RenderedMarkdown em")?.textContent.length > 40;
    const bare = all(".jp-RenderedMarkdown").map((element) => {
        const copy = element.cloneNode(true);
        copy.querySelectorAll("code, mjx-container").forEach((part) => part.remove());
        return copy;
    });
    return [
        ...all("img").filter((image) => !image.alt && !captioned(image))
            .map(() => "a picture without words"),
        ...all("img").filter((image) => image.complete && !image.naturalWidth)
            .map((image) => `not there: ${image.alt}`),
        ...bare.filter((element) => element.textContent.includes("$"))
            .map((element) => `a formula not set: ${words(element)}`),
        ...all("mjx-merror, [data-mjx-error]").map((error) => `a wrong formula: ${words(error)}`),
        ...all(".jp-Cell, .jp-RenderedMarkdown, .jp-OutputArea-output")
            .filter((element) => element.scrollWidth > element.clientWidth + 1)
            .map((element) => `wider than the page: ${words(element)}`)];
}"""


@pytest.mark.slow
@pytest.mark.parametrize("name", CHAPTERS)
def test_a_chapter_runs_and_its_widgets_answer(browser, server, name):
    page = open_and_run(browser, server(name))
    each_answers(page, shown(name))
    # A formula's unseen words for screen readers may reach beyond the page; nothing else may.
    page.add_style_tag(content="mjx-assistive-mml { display: none !important }")
    end = time.monotonic() + 30
    while (flaws := page.evaluate(FLAWS)) and time.monotonic() < end:
        page.wait_for_timeout(100)                 # formulas are set one after the other
    assert flaws == []


def each_answers(page, count):
    """There are so many explorers, and a key to its first slider changes the picture of each."""
    assert page.locator(EXPLORER).count() == count
    for number in range(1, count + 1):
        explorer = f":nth-match({EXPLORER}, {number})"
        before = picture(page, explorer)
        slider = page.locator(explorer).locator(SLIDER).first
        slider.press("ArrowLeft" if slider.evaluate(AT_ITS_END) else "ArrowRight")
        changes(page, before, explorer)


def shown(name):
    """How many widgets the committed chapter shows, each as its still picture."""
    book = nbformat.read(ROOT / "notebooks" / name, as_version=4)
    said = [output.get("data", {}).get("text/plain", "") for cell in book.cells
            for output in cell.get("outputs", [])]
    return sum(text.partition("(")[0] in widgets.__all__ for text in said)


def picture(page, explorer=EXPLORER):
    """The words of the explorer's picture."""
    return page.locator(explorer).locator(DRAWING).evaluate("e => e.alt ?? e.ariaLabel")


def changes(page, before, explorer=EXPLORER, seconds=30):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if picture(page, explorer) != before:
            return picture(page, explorer)
        page.wait_for_timeout(20)
    pytest.fail(f"the picture stayed at: {before}")


def drag(page, slider, start, end):
    """From one share of its width to another."""
    box = slider.bounding_box()
    page.mouse.move(box["x"] + start * box["width"], box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + end * box["width"], box["y"] + box["height"] / 2, steps=5)
    page.mouse.up()


def pole(words):
    return float(re.search(r"pole is ([\d.]+)", words).group(1))


def test_the_delta_explorer_answers_to_key_and_mouse(browser, server):
    page = open_and_run(browser, server("delta.ipynb"))
    explorer = page.locator(".minimamba-delta-explorer")
    handle = explorer.get_by_label("Δ", exact=True)
    drawn = explorer.locator("path.state").get_attribute("d")
    for theme in ("Dark", "Light"):
        page.evaluate("theme => jupyterapp.commands.execute('apputils:change-theme', {theme})",
                      f"JupyterLab {theme}")
        page.wait_for_selector(f"body[data-jp-theme-name='JupyterLab {theme}']", state="attached")
        # JupyterLab takes its splash away a while later, and fails if another came meanwhile.
        page.wait_for_selector("#jupyterlab-splash", state="detached")
        ground = explorer.evaluate("e => getComputedStyle(e).backgroundColor")
        assert (sum(map(int, re.findall(r"\d+", ground))) > 382) == (theme == "Light")
    before = picture(page)

    handle.focus()
    for _ in range(5):
        page.keyboard.press("ArrowRight")
    by_key = picture(page)
    assert pole(by_key) < pole(before)                 # a larger step forgets more
    assert explorer.locator("path.state").get_attribute("d") != drawn

    drag(page, handle, 0.45, 0.2)
    by_mouse = picture(page)
    assert pole(by_mouse) > pole(by_key)               # a smaller one holds


def test_python_and_the_browser_tell_each_other(browser, server):
    page = open_and_run(browser, server("scan.ipynb"))
    explorer = page.locator(".minimamba-scan-explorer")
    explorer.get_by_role("slider", name="length").press("ArrowRight")
    explorer.get_by_role("radio", name="Hillis-Steele").press("ArrowLeft")
    explorer.get_by_role("slider", name="level").press("ArrowRight")
    said = "one after the other, level 1 of 8: 1 of 8 joins made, 2 of 9 states done."
    assert picture(page) == said
    printed(page, "print(_1.value, _1.caption)",
            "{'order': 'one after the other', 'length': 9, 'level': 1} " + said)
    run(page, "_1.order = 'Blelloch'; _1.level = 2")
    assert changes(page, said) == "Blelloch, level 2 of 5: 6 of 12 joins made, 3 of 9 states done."


def run(page, code):
    """In a new cell at the end, to its end."""
    page.evaluate("""async code => {
        const {commands} = jupyterapp;
        await commands.execute("notebook:move-cursor-down");
        await commands.execute("notebook:insert-cell-below");
        await commands.execute("notebook:replace-selection", {text: code});
        await commands.execute("notebook:run-cell");
    }""", code)


def printed(page, code, wanted, seconds=30):
    """By a new cell, which is run until Python knows: JupyterLab's kernel listens to widgets in a
    thread of its own, so what they tell may come after a cell that was run later."""
    run(page, code)
    text = page.locator(".jp-OutputArea-output pre").last
    end = time.monotonic() + seconds
    while wanted not in text.inner_text():
        assert time.monotonic() < end, f"{wanted} is not in {text.inner_text()}"
        page.wait_for_timeout(100)
        page.evaluate('jupyterapp.commands.execute("notebook:run-cell")')


def test_the_hippo_explorer_answers_to_key_and_mouse(browser, server):
    page = open_and_run(browser, server("hippo.ipynb"))
    explorer = page.locator(".minimamba-hippo-explorer")
    image, words = explorer.get_by_role("img"), picture(page)
    assert "33 numbers for the last 6.00 s" in words

    def press(label, key, wanted):
        shown, before = image.get_attribute("src"), picture(page)
        explorer.get_by_label(label).press(key)
        assert wanted in changes(page, before)
        assert image.get_attribute("src") != shown
        assert explorer.locator(".caption").inner_text() == picture(page)

    press("numbers in the state", "ArrowRight", "35 numbers")
    press("now, s", "ArrowLeft", "5.95 s")
    drag(page, explorer.get_by_label("now, s"), 0.6, 0.2)
    moment, words = explorer.get_by_label("now, s").input_value(), picture(page)
    while f"the last {float(moment):.2f} s" not in words:   # in the end it is where the hand is
        words = changes(page, words)
    press("LegS, all of it", "ArrowRight", "the last 2.00 s, 160 samples")
    printed(page, "print(_1.value)", f"{{'size': 35, 'moment': {moment}, 'measure': 'legt'}}")
    words = picture(page)
    run(page, "_1.size = 9")
    assert "9 numbers" in changes(page, words)
    assert explorer.get_by_label("numbers in the state").input_value() == "9"


def test_the_token_explorer_answers_to_typing_and_to_a_hand(browser, server):
    page = open_and_run(browser, server("token.ipynb"))
    cells = page.locator(".jp-Cell").count()
    explorer = page.locator(".minimamba-token-explorer")
    line = explorer.get_by_label("tokens")
    line.focus()
    line.press("ControlOrMeta+a")
    page.keyboard.type("..a..b..")                      # to JupyterLab, a and b are new cells
    words = picture(page)
    assert words == "After ..a..b.. the state is made of: noise 2%, a 5%, b 93%."
    place = explorer.get_by_label("by hand, place")
    for _ in range(6):                                  # the b
        place.press("ArrowRight")
    for _ in range(30):
        explorer.get_by_label("Δ there").press("ArrowLeft")
    share = re.search(r"a (\d+)%, b (\d+)%", picture(page))
    assert int(share[1]) > int(share[2])                # with a small step there, it was skipped
    assert page.locator(".jp-Cell").count() == cells
    said = picture(page)
    printed(page, "print(_1.value, _1.caption)", "'place': 6, 'there': 0.0316228} " + said)
    run(page, "_1.tokens = 'ab'")
    assert changes(page, said).startswith("After ab the state is made of: a ")
    assert line.input_value() == "ab"
    assert place.get_attribute("aria-valuetext") == "2: b"
    assert page.wrong == []


def test_the_state_explorer_answers_to_typing_and_to_its_sliders(browser, server):
    page = open_and_run(browser, server("state.ipynb"))
    cells = page.locator(".jp-Cell").count()
    explorer = page.locator(".minimamba-state-explorer")
    words, line = picture(page), explorer.get_by_label("text")
    line.press("ControlOrMeta+a")
    page.keyboard.type("bé = a\n")                     # to JupyterLab, b and a are new cells
    assert line.input_value() == "bé = a\n"
    words = changes(page, words)
    for label, wanted in (("layer", "Layer 1, channel 0"), ("channel", "Layer 1, channel 1")):
        explorer.get_by_role("slider", name=label).press("ArrowRight")
        while not words.startswith(wanted):            # the letters typed come one by one
            words = changes(page, words)
    printed(page, "print(_1.value)", "{'text': 'b = a\\n', 'layer': 1, 'channel': 1}")
    run(page, "_1.text = 'x = 1'; _1.channel = 0")
    assert changes(page, words).startswith("Layer 1, channel")
    assert line.input_value() == "x = 1"
    assert page.locator(".jp-Cell").count() == cells + 2


def test_every_explorer_answers_in_notebook_7(browser, server):
    page = open_and_run(browser, server("every.ipynb", "notebooks"))
    each_answers(page, len(EXPLORERS))
    # Its own, as it starts: a page without widgets has them too. (The second if JupyterLab was
    # open before, whose workspace it reads.)
    own = "(reading 'schema')", "'filebrowser:open-path' not registered"
    page.wrong = [said for said in page.wrong if not any(words in said for words in own)]


# From npm's registry, with the hash that it gives.
REGISTRY = "https://registry.npmjs.org"
VSCODE = {"require.js": ("requirejs/-/requirejs-2.3.8.tgz",
                         "sha512-7/cTSLOdYkNBNJcDMWf+luFvMriVm7eYxp4BcFCsAX0wF421Vyce5SXP17c+Jd5ot"
                         "XKGNehIonFlyQXSowL6Mw=="),
          "dist/ipywidgets.js": ("@vscode/jupyter-ipywidgets8/-/jupyter-ipywidgets8-1.0.9.tgz",
                                 "sha512-bocCThfa4JDIDd7qCFAfW3HpzHfTLYxOTpTbiDfw4DXOUjKHnr6ObkMBiIku"
                                 "zYPRybh5bY4FhYLemuDuTvIbpQ==")}
# VS Code's widget manager in a page of JupyterLab, whose connection to a kernel it is lent. What
# its notebooks do for it is done here: scripts are found, and each view gets a place.
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
        const future = kernel.requestExecute({code}), said = [];
        future.onIOPub = ({content}) => said.push(content);
        const {content} = await future.done;
        if (content.status !== "ok") throw new Error(content.evalue);
        return said;
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
    """What VS Code draws widgets with, and the loader of scripts that it stands on."""
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
def test_every_explorer_answers_in_the_widget_manager_of_vs_code(browser, server, vscode):
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
explorers = [getattr(widgets, name)() for name in {EXPLORERS}]
before = [explorer.value for explorer in explorers]
display(*explorers)""")
    each_answers(page, len(EXPLORERS))
    end = time.monotonic() + 30
    while not page.evaluate("""execute("for one, then in zip(explorers, before):"
            + " assert one.value != then").then(() => true, () => false)"""):
        assert time.monotonic() < end, "Python does not know what was set"
    # Of the two, JupyterLab's and VS Code's; a page of VS Code has one.
    page.wrong = [said for said in page.wrong if "Yjs was already imported" not in said]
