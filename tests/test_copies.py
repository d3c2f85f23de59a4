"""tools/copies.py: the reader's copies follow the course, and keep what the reader wrote."""

import json
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent.parent / "tools"))
import copies

ROOT = Path(__file__).parent.parent


def cell(name, source, kind="code", **more):
    run = {"execution_count": None, "outputs": []} if kind == "code" else {}
    return {"cell_type": kind, "id": name, "metadata": {},
            "source": source.splitlines(True)} | run | more


def book(*cells, version="3.11.7"):
    return {"cells": [*cells], "metadata": {"language_info": {"version": version}},
            "nbformat": 4, "nbformat_minor": 5}


STUB = cell("stub", "def f(x):\n    ...\n")
ANSWER = cell("stub", "def f(x):\n    return 2 * x\n", outputs=[{"text": "by the reader"}],
              execution_count=7)
COURSE = book(cell("title", "# Title", "markdown"), STUB, cell("end", "print(f(1))"))


@pytest.fixture
def folders(tmp_path):
    """The course's folder with a chapter and the glossary, and that of the copies."""
    course, mine = tmp_path / "notebooks", tmp_path / "my_course"
    course.mkdir()
    (course / "05_selectivity.ipynb").write_text(json.dumps(COURSE))
    (course / "glossary.md").write_text("words")
    copies.update(course, mine)
    return course / "05_selectivity.ipynb", mine / "05_selectivity.ipynb"


def publish(path, later):
    path.write_text(json.dumps(later))
    copies.update(path.parent, path.parent.parent / "my_course")


def sources(path):
    return [copies.text(cell)[1] for cell in copies.read(path)["cells"]]


def test_copies_are_made_once_and_reading_them_changes_nothing_of_the_course(folders):
    chapter, own = folders
    assert copies.read(own) == copies.read(chapter)
    assert (own.parent / "glossary.md").read_text() == "words"
    before = chapter.read_bytes()
    copies.write(own, COURSE | {"metadata": {"language_info": {"version": "3.14.0"}}})
    saved = own.read_bytes()
    copies.update(chapter.parent, own.parent)
    assert (chapter.read_bytes(), own.read_bytes()) == (before, saved)


def test_answers_and_notes_are_kept_in_a_later_version(folders):
    chapter, own = folders
    copies.write(own, book(COURSE["cells"][0], cell("note", "my note", "markdown"), ANSWER,
                           cell("mine", "f(3)"), COURSE["cells"][2], version="3.14.0"))
    saved = copies.read(own)
    saved["metadata"]["widgets"] = {"of": "the reader's cells"}
    copies.write(own, saved)
    later = book(cell("title", "# New title", "markdown"), cell("more", "new text", "markdown"),
                 STUB, cell("end", "print(f(2))", outputs=["2"]))
    publish(chapter, later)
    assert sources(own) == ["# New title", "my note", "new text", "def f(x):\n    return 2 * x\n",
                            "f(3)", "print(f(2))"]
    merged = copies.read(own)
    assert merged["metadata"] == later["metadata"] | {"widgets": {"of": "the reader's cells"}}
    assert merged["cells"][3] == ANSWER
    assert merged["cells"][5]["outputs"] == ["2"]
    before = own.read_bytes()
    publish(chapter, later)
    assert own.read_bytes() == before


def test_no_cell_of_a_copy_looks_run_and_what_to_predict_is_not_in_it(folders):
    chapter, own = folders
    prompt = cell("prompt", "**Before you run this:** how many?", "markdown")
    answers = [cell(name, f"{name}", outputs=[{"data": "2", "execution_count": 1}],
                    execution_count=1)
               for name in ("before", "answer", "plot", "later")]
    later = book(answers[0], prompt, *answers[1:3], cell("text", "Two.", "markdown"), answers[3])

    def outputs():
        code = [c for c in copies.read(own)["cells"] if c["cell_type"] == "code"]
        return [[o["data"] for o in c["outputs"]] for c in code]

    def numbers():
        code = [c for c in copies.read(own)["cells"] if c["cell_type"] == "code"]
        return {c["execution_count"] for c in code} | {
            o["execution_count"] for c in code for o in c["outputs"]}

    publish(chapter, later)                                    # merged
    assert outputs() == [["2"], [], [], ["2"]]
    assert numbers() == {None}
    copies.reset("05", chapter.parent, own.parent)             # begun afresh
    assert outputs() == [["2"], [], [], ["2"]]
    assert numbers() == {None}
    copies.write(own, later)                                   # run by the reader
    copies.update(chapter.parent, own.parent)
    assert outputs() == 4 * [["2"]]
    assert numbers() == {1}
    publish(chapter, book(*later["cells"], cell("end", "print(5)")))
    assert sources(own)[-1] == "print(5)"


def test_where_both_changed_a_cell_the_readers_stays_and_the_courses_is_quoted(folders):
    chapter, own = folders
    copies.write(own, book(COURSE["cells"][0], ANSWER))
    for version in ("scale", "factor"):
        publish(chapter, book(STUB | {"source": f"def f(x, {version}):\n    ...\n"}))
        answer, quote = copies.read(own)["cells"]
        assert answer == ANSWER
        assert quote["cell_type"] == "markdown"
        assert copies.NEW_VERSION in quote["source"]
        assert f"def f(x, {version}):" in quote["source"]
    publish(chapter, book(ANSWER | {"outputs": []}))      # the course now has the reader's words
    assert sources(own)[0] == copies.text(ANSWER)[1]


def test_what_the_reader_wrote_in_a_cell_that_is_gone_is_kept(folders):
    chapter, own = folders
    copies.write(own, book(cell("first", "first"), *COURSE["cells"][:1], ANSWER))
    publish(chapter, book(COURSE["cells"][0], COURSE["cells"][2]))
    assert sources(own) == ["first", "# Title", copies.text(ANSWER)[1], "print(f(1))"]


def test_reset_starts_a_chapter_afresh_and_keeps_the_old_copy(folders):
    chapter, own = folders
    for number in (1, 2):
        copies.write(own, book(ANSWER))
        copies.reset("05", chapter.parent, own.parent)
        assert copies.read(own) == copies.read(chapter)
        assert sources(own.with_name(f"05_selectivity_old_{number}.ipynb")) == [
            copies.text(ANSWER)[1]]
    for wrong in ("", "5", "../05", "06"):
        with pytest.raises(ValueError, match="CHAPTER: expected one of 05, got"):
            copies.reset(wrong, chapter.parent, own.parent)


@pytest.mark.parametrize("damage", ["<<<<<<< HEAD", "[]", '{"cells": [{}]}', "null"])
def test_a_copy_that_is_no_notebook_stays_and_the_rest_is_updated(damage, folders, capsys):
    chapter, own = folders
    other = chapter.with_name("06_the_scan.ipynb")
    other.write_text(json.dumps(COURSE))
    own.write_text(damage)
    publish(chapter, book(STUB))
    assert own.read_text() == damage
    assert "make reset CHAPTER=05" in capsys.readouterr().out
    assert own.with_name(other.name).exists()


def test_the_copies_are_where_links_and_git_expect_them():
    assert copies.MINE.parent == copies.COURSE.parent       # chapters install what is in ..
    assert f"/{copies.MINE.name}/" in (ROOT / ".gitignore").read_text().split()
