"""Every exercise: its stub says "not tried yet", its solution passes, its mistakes are named."""

import importlib
import inspect
import json
import re
from pathlib import Path

import nbformat
import pytest
import torch

from minimamba.course import exercises
from minimamba.s4 import hippo

NOTEBOOKS = sorted((Path(__file__).parent.parent / "notebooks").glob("*.ipynb"))
CHAPTERS = [path.name[:2] for path in NOTEBOOKS]


def exercises_of(chapter):
    return importlib.import_module(f"minimamba.course.exercises.chapter{chapter}").EXERCISES


@pytest.fixture(autouse=True)
def written(tmp_path, monkeypatch):
    """Where right answers are written down: not among the reader's own."""
    monkeypatch.setenv("MINIMAMBA_SOLVED", str(tmp_path / "solved.json"))
    return tmp_path / "solved.json"


NAMES = [name for chapter in CHAPTERS for name in exercises_of(chapter)]


def cells(name):
    """The stub's cell and the solution's, in the notebook of the exercise."""
    path = next(p for p in NOTEBOOKS if p.name.startswith(name[:2]))
    found = [c for c in nbformat.read(path, as_version=4).cells
             if c.cell_type == "code" and f'exercises.check("{name}"' in c.source]
    assert len(found) == 2, f"{name}: a stub and a solution"
    return found


def answer_in(cell, name):
    """The function that a cell hands to check, made by running the cell."""
    handed = []
    given = {"exercises": type("exercises", (), {"check": lambda n, f: handed.append((n, f))})}
    preamble = "import math, torch\nfrom minimamba import continuous, discretize, lti\n"
    exec(preamble + cell.source, given)
    assert [n for n, _ in handed] == [name]
    return handed[0][1]


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_a_chapter_has_three_exercises_or_more_and_a_hard_one(chapter):
    assert len(exercises_of(chapter)) >= 3
    path = next(p for p in NOTEBOOKS if p.name.startswith(chapter))
    assert "(hard" in path.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", NAMES)
def test_the_stub_is_not_tried_yet(name, capsys):
    exercises.check(name, answer_in(cells(name)[0], name))
    assert capsys.readouterr().out == f"{name}: not tried yet (the function returns nothing)\n"


@pytest.mark.parametrize("name", NAMES)
def test_the_solution_below_fills_the_stub_and_is_right(name, capsys):
    stub, solution = (answer_in(cell, name) for cell in cells(name))
    assert inspect.signature(stub) == inspect.signature(solution)
    exercises.check(name, solution)
    assert capsys.readouterr().out == f"{name}: correct\n"


@pytest.mark.parametrize("name", NAMES)
def test_the_solution_is_folded_away(name):
    assert cells(name)[1].metadata["jupyter"]["source_hidden"]


@pytest.mark.parametrize("name", NAMES)
def test_two_typical_mistakes_are_told_apart(name):
    exercise = exercises.find(name)
    assert len(exercise.mistakes) >= 2
    said = []
    for hint, mistake in exercise.mistakes.items():
        verdict = exercises.verdict(exercise, mistake)
        assert re.match(r"not yet\. For .+ expected .+, got .+\.", verdict)
        assert verdict.endswith(hint)
        said.append(verdict)
    assert len(set(said)) == len(said)


def test_another_wrong_answer_gets_the_case_and_no_hint():
    exercise = exercises.find("00.2")
    verdict = exercises.verdict(exercise, lambda delta, A: 7.0)
    assert verdict == "not yet. For delta = 0.1, A = -1 expected 0.9048, got 7."


def test_an_answer_that_raises_is_told_what_it_raised():
    verdict = exercises.verdict(exercises.find("00.2"), lambda delta, A: 1 / 0)
    assert "raised ZeroDivisionError: division by zero" in verdict


def test_a_raised_not_implemented_error_is_not_tried_yet():
    def stub(delta, A):
        raise NotImplementedError

    assert exercises.verdict(exercises.find("00.2"), stub) == "not tried yet"


def test_an_answer_of_the_wrong_shape_is_wrong():
    exercise = exercises.find("03.1")
    verdict = exercises.verdict(exercise, lambda **case: exercise.solution(**case)[:, None])
    assert verdict.startswith("not yet.")


def test_an_answer_that_writes_into_its_arguments_spoils_nothing():
    exercise = exercises.find("03.1")

    def greedy(A_bar, B_bar, C, length):
        y = exercise.solution(A_bar, B_bar, C, length)
        A_bar.zero_()
        return y

    before = exercise.cases[0]["A_bar"].clone()
    assert exercises.verdict(exercise, greedy) == "correct"
    assert exercise.cases[0]["A_bar"].equal(before)


@pytest.mark.parametrize("name", ["02.9", "99.1", "two", ""])
def test_an_unknown_exercise_is_refused(name):
    with pytest.raises(ValueError, match="name: expected an exercise"):
        exercises.check(name, abs)


def test_an_answer_that_is_no_function_is_refused():
    with pytest.raises(ValueError, match="answer: expected a function, got int"):
        exercises.check("00.1", 3)


@pytest.mark.parametrize(("name", "wrong", "hint"), [
    ("04.1", lambda N: hippo.legs(N)[0].T, "transpose"),
    ("04.1", lambda N: -hippo.legs(N)[0], "sign is wrong"),
    ("04.1", lambda N: hippo.legs(N)[0] + hippo.legs(N)[0].tril(-1).T, "Above the diagonal"),
    ("04.1", lambda N: hippo.legs(N)[0] - torch.diag(torch.arange(N)), "On the diagonal"),
    ("04.2", lambda A_bar, B_bar, C, length: (C * A_bar ** torch.arange(length)[:, None]
                                              * B_bar).sum(-1).real, "itself and its conjugate"),
    ("04.2", lambda A_bar, B_bar, C, length: (C.conj() * A_bar ** torch.arange(length)[:, None]
                                              * B_bar).sum(-1).real * 2, "without a conjugate"),
    ("04.3", lambda d, p, q, b: torch.linalg.solve(torch.diag(d) - torch.outer(p, q), b),
     "sign is wrong"),
    ("04.3", lambda d, p, q, b: b / d, "diagonal only"),
    ("04.3", lambda d, p, q, b: b / d - p * (q * b / d).sum() / d, "denominator 1"),
])
def test_a_hint_of_chapter_04_belongs_to_its_mistake(name, wrong, hint):
    assert hint in exercises.verdict(exercises.find(name), wrong)


def right(delta, A):
    return torch.exp(torch.tensor(delta * A))


def test_progress_counts_what_was_right_once(written, capsys):
    exercises.check("00.2", right)
    exercises.check("00.2", lambda delta, A: 7.0)               # it stays solved
    for cell in cells("00.1"):                                  # the notebook's own do not count
        exercises.check("00.1", answer_in(cell, "00.1"))
    assert json.loads(written.read_text()) == ["00.2"]
    capsys.readouterr()
    exercises.progress()
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["00", "□", "■", "□", "1", "of", "3"]
    assert [line[:2] for line in lines[:-1]] == CHAPTERS
    assert lines[-1].split() == ["all", "1", "of", str(len(NAMES))]


def test_a_right_answer_is_right_where_nothing_can_be_written(written, capsys):
    written.mkdir()
    exercises.check("00.2", right)
    assert capsys.readouterr().out.startswith("00.2: correct (not recorded: ")


def test_the_record_lies_beside_the_notebook(tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("MINIMAMBA_SOLVED")
    monkeypatch.chdir(tmp_path)
    exercises.check("00.2", right)
    assert (tmp_path / ".solved.json").read_text() == '["00.2"]\n'


@pytest.mark.parametrize("left", ['["00.2', "5", ""])
def test_a_record_that_was_cut_off_is_told_of_and_stays(written, capsys, left):
    written.write_text(left)
    exercises.check("00.2", right)
    assert "00.2: correct (not recorded: " in capsys.readouterr().out
    with pytest.raises(ValueError, match=r"expected a list of names; delete the file"):
        exercises.progress()
    assert written.read_text() == left
