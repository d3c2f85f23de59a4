"""What a reader sees before running anything; that the cells are right, nbval tests."""

import ast
import base64
import json
import re
from pathlib import Path
from urllib.parse import unquote

import pytest

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "notebooks"
NAMES = sorted(path.name for path in FOLDER.glob("*.ipynb"))
CHAPTERS = [name for name in NAMES if not name.startswith("00")]
APPENDIX_TO = {"A1": "04", "A2": "08"}
"""The chapter that an appendix continues."""


def cells(name, kind=None):
    book = json.loads((FOLDER / name).read_text(encoding="utf-8"))
    return [dict(c, source="".join(c["source"])) for c in book["cells"]
            if kind in (None, c["cell_type"])]


def prose(name):
    if name.endswith(".md"):
        return (FOLDER / name).read_text(encoding="utf-8")
    return "\n".join(c["source"] for c in cells(name, "markdown"))


def headings(name):
    """The anchors of a notebook: JupyterLab and nbconvert put hyphens for spaces."""
    found = re.findall(r"^#+ (.+)$", prose(name), flags=re.M)
    return {text.strip().replace(" ", "-") for text in found}


def outputs(name):
    return [o for c in cells(name, "code") for o in c["outputs"]]


@pytest.mark.parametrize("name", NAMES)
def test_committed_as_run_from_top_to_bottom(name):
    code = cells(name, "code")
    assert [c["execution_count"] for c in code] == list(range(1, len(code) + 1))
    assert not [o for o in outputs(name) if o["output_type"] == "error"]


@pytest.mark.parametrize("name", NAMES)
def test_cells_are_short_and_none_is_skipped(name):
    for number, cell in enumerate(cells(name, "code")):
        tags = cell["metadata"].get("tags", [])
        most = 70 if "kernel" in tags else 20              # a whole GPU kernel is one function
        if number == 0:
            most = 27                                      # the library found, the imports
        assert len(cell["source"].splitlines()) <= most, cell["source"]
        assert "nbval-skip" not in tags


@pytest.mark.parametrize("name", NAMES)
def test_saved_without_progress_bars_and_nothing_in_red(name):
    for output in outputs(name):
        assert output.get("name") != "stderr"
        assert "\r" not in "".join(output.get("text", ""))


@pytest.mark.parametrize("name", NAMES)
def test_every_picture_has_words_and_a_ground_of_its_own(name):
    pictures = [o for o in outputs(name) if "image/png" in o.get("data", {})]
    assert pictures
    for picture in pictures:
        assert len(picture["metadata"]["image/png"]["alt"]) > 40
        # Nothing is transparent: black on white is legible on a dark page too.
        assert b"tRNS" not in base64.b64decode(picture["data"]["image/png"])


@pytest.mark.parametrize("name", NAMES)
def test_the_picture_at_the_top_is_drawn_by_the_chapter_too(name):
    """A chapter opened alone has no figures/ beside it: words are there, and the picture below."""
    (words, file), = re.findall(r"!\[(.+?)\]\((.+?)\)", prose(name))
    assert len(words) > 60
    assert words.endswith(".")
    assert any(Path(file).stem in cell["source"] and "plots.show(" in cell["source"]
               for cell in cells(name, "code"))


@pytest.mark.parametrize("name", NAMES)
def test_nothing_needs_a_kernel_to_be_seen(name):
    kinds = [kind for output in outputs(name) for kind in output.get("data", {})]
    assert "application/vnd.jupyter.widget-view+json" not in kinds


@pytest.mark.parametrize("name", NAMES)
def test_no_output_holds_a_path_of_some_machine(name):
    text = json.dumps([o for o in outputs(name) if "image/png" not in o.get("data", {})])
    assert not re.search(r"/(home|root|work|tmp|Users)/", text)


@pytest.mark.parametrize("name", [*NAMES, "glossary.md", "questions.md"])
def test_links_lead_somewhere(name):
    links = re.findall(r"\]\(([^)\s]+)\)", prose(name))
    assert links
    for link in links:
        file, _, anchor = unquote(link).partition("#")
        if file.startswith("http"):
            continue
        assert (FOLDER / (file or name)).is_file(), link
        if anchor.startswith("cell-id="):
            assert anchor.removeprefix("cell-id=") in {c["id"] for c in cells(file or name)}, link
        elif anchor:
            assert anchor in headings(file or name), link


@pytest.mark.parametrize("name", NAMES)
def test_a_chapter_links_to_the_glossary_before_its_first_cell(name):
    opening = cells(name, "markdown")[0]["source"]
    assert opening.endswith("\n\nWords and symbols: [glossary](glossary.md).")


def test_each_question_has_a_link_to_its_answer():
    group, people = prose("questions.md").split("## ")[1:]
    for section, count in ((group, 8), (people, 21)):
        rows = re.findall(r"^\| .*\?.* \| (.+) \|$", section, flags=re.M)
        assert len(rows) == count
        for answer in rows:
            assert "ipynb#" in answer or "https://arxiv.org/abs/" in answer, answer
    assert [int(n) for n in re.findall(r"^\| (\d+) \|", people, flags=re.M)] == [*range(1, 22)]


def entries(heading):
    """The rows of a table of the glossary: what it explains, and its other cells."""
    table = prose("glossary.md").split(f"## {heading}\n")[1].split("\n## ")[0]
    _, _, *rows = re.findall(r"^\| *(.+?) *\|$", table, flags=re.M)
    return [re.split(r" *\| *", row) for row in rows]


@pytest.mark.parametrize(("heading", "columns"), [("Symbols", 4), ("Words", 3)])
def test_the_glossary_is_sorted_and_has_each_entry_once_with_its_place(heading, columns):
    def place(entry):
        """Greek letters by their names; what stands over a letter does not count."""
        bare = re.sub(r"\\(bar|tilde|partial|text)\b", "", entry)
        return re.findall("[a-z0-9]+", bare.casefold())

    rows = entries(heading)
    names = [name for name, *_ in rows]
    assert len(names) > 30
    assert len(names) == len(set(names))
    assert names == sorted(names, key=place)
    for row in rows:
        assert len(row) == columns, row
        link = re.fullmatch(r"\[(\w\d) §(\d+)\]\((\w\d)_\w+\.ipynb#(\d+)\.-\S+\)", row[-1])
        assert link, row
        assert link.group(1, 2) == link.group(3, 4), row


@pytest.mark.parametrize("name", CHAPTERS)
def test_a_chapter_opens_with_its_question_and_a_picture_and_closes_with_what_was_learned(name):
    first, last = cells(name, "markdown")[0]["source"], cells(name, "markdown")[-1]["source"]
    assert "**The question of this chapter:" in first
    assert re.search(r"!\[.+\]\(\.\./figures/.+\.svg\)", first)
    earlier = APPENDIX_TO.get(name[:2]) or f"{int(name[:2]) - 1:02}"
    assert f"Chapter {earlier}" in first
    assert last.startswith("## What you can now explain")


@pytest.mark.parametrize("name", NAMES)
def test_a_chapter_compares_with_the_library_and_asserts(name):
    code = "\n".join(c["source"] for c in cells(name, "code"))
    checks = [n for n in ast.walk(ast.parse(code)) if isinstance(n, ast.Assert)]
    assert len(checks) >= 5
    assert "from torch.testing import assert_close" in code
    assert not re.search(r"""\.cuda\(\)|device\s*=\s*['"]cuda""", code), "a GPU asked for by name"


def functions(source):
    """The code of each function, without its docstring, and as if no name ended in _solution."""
    found = {}
    for function in ast.walk(ast.parse(source)):
        if isinstance(function, ast.FunctionDef):
            if ast.get_docstring(function) is not None:
                function.body = function.body[1:]
            found[function.name] = ast.unparse(function).replace("_solution", "")
    return found


@pytest.mark.parametrize(("file", "chapters", "of"), [
    ("scan/triton_minimal.py", ("07", "08"), {"forward_kernel", "backward_kernel"}),
    ("ssd/triton_minimal.py", ("12",), {"ssd_kernel"})])
def test_the_kernels_of_the_workshop_are_those_of_the_library(file, chapters, of):
    library = (ROOT / "minimamba" / file).read_text(encoding="utf-8")
    kernels = {name: code for name, code in functions(library).items()
               if code.startswith("@triton.jit")}
    assert of <= kernels.keys()
    taught = {code for name in NAMES if name.startswith(chapters)
              for cell in cells(name, "code") for code in functions(cell["source"]).values()}
    missing = [name for name, code in kernels.items() if code not in taught]
    assert not missing, f"in no chapter of {chapters}"


def test_chapter_00_maps_every_chapter():
    text = prose("00_start_here.ipynb")
    for name in CHAPTERS:
        assert f"({name})" in text, f"the map lacks {name}"
    listed = re.findall(r"^\| (?:\*\*|\[)?(\w\d) \w", text, flags=re.M)
    assert listed == [name[:2] for name in NAMES], "the map lists chapters that don't exist"
    assert "(questions.md)" in text


def numbers(text):
    """The whole numbers in a text; "12–14" stands for all from 12 to 14."""
    found = set()
    for first, last in re.findall(r"(\d+)(?:–(\d+))?", text):
        found |= set(range(int(first), int(last or first) + 1))
    return found


def test_the_map_of_the_paper_names_every_item_and_links_to_its_cell():
    text = prose("00_start_here.ipynb").split("## 9. The map of the paper")[1].split("\n## ")[0]
    _, *tables = text.split("| the cell that computes it |")
    rows = [re.findall(r"^\| *(.+?) *\| *(.+?) *\| *(.+?) *\|$", table, flags=re.M)
            for table in tables]
    sections, formulas, pictures = ([row for row in part if "---" not in row[0]] for part in rows)
    assert [name for name, *_ in sections] == [
        "1", "2", "2", "2", "3.1", "3.2", "3.3.1", "3.3.2", "3.4", "3.5.1", "3.5.2", "3.6",
        "4.1.1", "4.1.2", "4.2", "4.3", "4.4", "4.5", "4.6", "5", "A", "B", "C", "D", "E"]
    labels = " ".join(name for name, *_ in formulas)
    for label in ("1a", "1b", "2a", "2b", "3a", "3b", "4", "5", "Theorem 1"):
        assert re.search(rf"\b{label}\b", labels), label
    for algorithm in "12":
        lines = [name.split("line")[1] for name, *_ in formulas if f"Algorithm {algorithm}" in name]
        assert set().union(*map(numbers, lines)) >= set(range(1, 7))
    for kind, count in (("Figure", 10), ("Table", 15)):
        named = [numbers(name) for name, *_ in pictures if name.startswith(kind)]
        assert set().union(*named) == set(range(1, count + 1))
    for *_, links in (*sections, *formulas, *pictures):
        assert "#cell-id=" in links or links in ("not in this course", "names in section 10"), links


def test_figures_are_the_ones_that_the_notebooks_draw():
    drawn = []
    for name in NAMES:
        code = "\n".join(c["source"] for c in cells(name, "code"))
        drawn += [node.args[1].value for node in ast.walk(ast.parse(code))
                  if isinstance(node, ast.Call) and ast.unparse(node.func) == "plots.show"]
    assert len(drawn) == len(set(drawn))
    assert sorted(drawn) == sorted(path.stem for path in (ROOT / "figures").glob("*.svg"))
