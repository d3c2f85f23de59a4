"""Exercises: stubs, solutions and mistakes get the right verdict, and progress is recorded."""

import inspect
import json
import linecache
import math
import re
import subprocess
import sys
import time
from functools import cache, partial
from importlib.util import find_spec
from pathlib import Path

import nbformat
import pytest
import torch

from minimamba.course import exercises
from minimamba.course.exercises.record import mark_solved, solved_exercises
from minimamba.course.exercises.steps import STEPS
from minimamba.s4 import hippo

NOTEBOOKS = sorted((Path(__file__).parent.parent / "notebooks").glob("*.ipynb"))
CHAPTERS = [path.name[:2] for path in NOTEBOOKS]


def exercises_of(chapter):
    return exercises._exercises(chapter)       # none where they need Triton and it isn't there


NAMES = [name for chapter in CHAPTERS for name in exercises_of(chapter)]


def result(exercise, case):
    """What the solution gives for a case."""
    return exercise.call(exercise.solution, **case)


def changed_answer(exercise, change):
    """The solution with its results changed. That of a kernel gets the tensors of a case."""
    return lambda *tensors, **case: change(exercise.solution(*tensors, **case))


def in_each_part(change):
    """Apply a change to a result, or to each part of one that has several."""
    def changed(result):
        if isinstance(result, dict):
            return {name: change(part) for name, part in result.items()}
        return (type(result)(map(change, result)) if isinstance(result, (tuple, list)) else
                change(result))
    return changed


def raise_an_error(result):
    return result + None


CHANGES = {
    "nothing returned": lambda result: None,
    "wrapped": lambda result: [result],
    "text": str,
    "raises": raise_an_error,
    "negated": in_each_part(lambda part: -part),
    "tripled": in_each_part(lambda part: 3 * part),
    "NaN": in_each_part(lambda part: part * float("nan")),
    "almost": in_each_part(lambda part: part * 1.005),
    "one axis more": in_each_part(lambda part: torch.as_tensor(part)[None]),
}
"""Slips that any answer may contain."""
OF_A_KERNEL = 5
"""Slips that are told of any kernel: see test_exercises_kernels."""


def last_sentence(verdict):
    """What the verdict says is wrong; "" if it only says how the result differs."""
    if verdict.startswith("not tried yet"):
        return ""
    last = re.split(r"(?<=[.:?]) ", verdict)[-1]
    return "" if ", got " in last else last


def names_with(kind):
    """The exercises whose answer is of a kind; of a kernel it is a dict of outputs."""
    found = ((name, exercises.find(name)) for name in NAMES)
    return [name for name, it in found if isinstance(result(it, it.cases[0]), kind)]


@pytest.fixture(autouse=True)
def record(tmp_path, monkeypatch):
    """The path of a record of its own for each test."""
    monkeypatch.setenv("MINIMAMBA_SOLVED", str(tmp_path / "solved.json"))
    return tmp_path / "solved.json"


@cache
def code_cells(chapter):
    path = next(p for p in NOTEBOOKS if p.name.startswith(chapter))
    return [c for c in nbformat.read(path, as_version=4).cells if c.cell_type == "code"]


def cells(name):
    """The cells of an exercise in its notebook: the stub and the solution."""
    found = [c for c in code_cells(name[:2]) if f'exercises.check("{name}"' in c.source]
    assert len(found) == 2, f"{name}: expected a stub and a solution"
    return found


def answer_in(cell, name):
    """Run a cell, and return the function that it gives to `check`."""
    checked = []
    namespace = {"exercises": type("exercises", (), {
        "check": lambda name, answer: checked.append((name, answer))})}
    source = "import math, torch\nfrom minimamba import continuous, discretize, lti\n"
    if name.startswith(exercises.WITH_TRITON):
        source += "import triton, triton.language as tl\n"
        source += "from minimamba.scan.triton_minimal import *\n"
        source += "from minimamba.ssd.triton_minimal import *\n"
    source += cell.source
    file = f"{name}, cell {cell.id}"
    linecache.cache[file] = len(source), None, source.splitlines(True), file  # Triton reads it
    exec(compile(source, file, "exec"), namespace)
    (checked_name, answer), = checked
    assert checked_name == name
    return answer


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_a_chapter_has_at_least_three_exercises_and_a_hard_one(chapter):
    checked = {name for cell in code_cells(chapter)
               for name in re.findall(r'exercises\.check\("(\w\d\.\d)"', cell.source)}
    assert len(checked) >= 3
    if exercises_of(chapter):  # none where they are Triton kernels and Triton isn't there
        absent = set() if find_spec("triton") else set(exercises.WITH_TRITON)
        assert checked - absent == exercises_of(chapter).keys()
    path = next(p for p in NOTEBOOKS if p.name.startswith(chapter))
    assert "(hard" in path.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", NAMES)
def test_the_stub_is_not_tried_yet_and_the_solution_is_correct_and_folded(name, capsys):
    stub_cell, solution_cell = cells(name)
    stub, solution = answer_in(stub_cell, name), answer_in(solution_cell, name)
    exercises.check(name, stub)
    what = "kernel writes" if hasattr(stub, "run") else "function returns"
    assert capsys.readouterr().out == f"{name}: not tried yet (the {what} nothing)\n"
    exercises.check(name, solution)
    assert capsys.readouterr().out == f"{name}, the solution: correct\n"
    assert inspect.signature(stub) == inspect.signature(solution)
    assert solution_cell.metadata["jupyter"]["source_hidden"]


@pytest.mark.parametrize("name", NAMES)
def test_ten_mistakes_get_hints_of_their_own(name):
    exercise = exercises.find(name)
    for hint, mistake in exercise.mistakes.items():
        verdict = exercises.verdict(exercise, mistake)
        assert re.match(r"not yet\. For .+ expected .+, (got|it was never written).+\.", verdict)
        assert verdict.endswith(hint)
    hints = {last_sentence(exercises.verdict(exercise, changed_answer(exercise, change)))
             for change in CHANGES.values()} - {""}
    assert len(exercise.mistakes) >= 2
    told_elsewhere = OF_A_KERNEL if exercise.explain else 0
    assert len(hints) + len(exercise.mistakes) + told_elsewhere >= 10


def same_list_entry(x, delta, B):
    h, states = torch.zeros_like(x[:, 0]), []
    for t in range(x.shape[1]):
        h *= torch.exp(-delta[:, t])
        h += delta[:, t] * B * x[:, t]
        states.append(h)
    return torch.stack(states, 1)


def in_place(x, delta, B):
    x *= delta
    return x


def of_float(x, delta, B):
    return torch.exp(B) * x


def of_a_list(x, delta, B):
    return torch.stack([x[0], x[0, 1:]])


@pytest.mark.parametrize(("name", "wrong", "said"), [
    ("00.4", same_list_entry, "Does a list hold one tensor"),
    ("00.4", in_place, "changes its argument x in place"),
    ("00.4", of_float, "That is a plain number, not a tensor"),
    ("00.4", of_a_list, "in `return torch.stack([x[0], x[0, 1:]])`. `torch.stack` takes a list"),
    ("00.4", lambda x, B: x, "keep the first line of the empty exercise"),
    ("00.4", lambda x, delta, B: x, "That is the argument x itself"),
    ("00.2", lambda delta, A: 7.0, "The result is always the same"),
    ("02.1", lambda **case: exercises.find("02.1").solution(**case)[::-1], "the opposite order"),
    ("02.1", lambda A, B, delta: (math.exp(delta * A), 1.0), "Only the second result is wrong."),
    ("02.5", lambda A, B, delta, x: math.exp(A), "`math` and `float` take one number"),
    *((name, lambda name=name, change=change, **case: change(exercises.find(name).solution(**case)),
       said) for name, change, said in (
        ("02.3", lambda delta: delta * 100, "Everything is 100 times what it should be"),
        ("02.5", lambda h: h.roll(1, 0), "rotated by one step"),
        ("02.5", lambda h: torch.cat([0 * h[:1], h[:-1]]), "everything is one step late"),
        ("02.5", lambda h: torch.cat([0 * h[:1], h]), "too many at the beginning"),
        ("02.5", lambda h: torch.cat([h[:-1], 0 * h[:1]]), "only the last entry is wrong"),
        ("02.5", lambda h: h + (torch.arange(len(h)) > 2)[:, None], "row 3–4 wrong, row 0–2 right"),
        ("02.5", lambda h: h.cumsum(0), "summed up along axis 0"),
        ("02.5", lambda h: h.int(), "whole numbers"),
        ("02.5", lambda h: h + 1, "off by the same amount, +1."),
        ("02.5", lambda h: list(h), "`torch.stack` makes a tensor of a list"),
        ("04.3", lambda K: K + 0j, "The result is complex"),
        ("05.4", lambda y: y.permute(1, 2, 0), "the axes are in another order"),
        ("05.4", lambda y: y.sum(-1), "summed over axis 2"),
        ("A1.1", lambda values: values.conj(), "complex conjugate")))])
def test_a_slip_of_any_exercise_is_recognized(name, wrong, said):
    assert said in exercises.verdict(exercises.find(name), wrong)


def test_an_unknown_mistake_gets_the_case_without_a_hint():
    verdict = exercises.verdict(exercises.find("00.2"), lambda delta, A: 7.0 + delta)
    assert verdict == "not yet. For delta = 0.1, A = -1 expected 0.9048, got 7.1."


def test_an_error_in_an_answer_is_reported():
    verdict = exercises.verdict(exercises.find("00.2"), lambda delta, A: 1 / 0)
    assert verdict == (
        "not yet. For delta = 0.1, A = -1 it raised ZeroDivisionError: division by zero, in "
        '`verdict = exercises.verdict(exercises.find("00.2"), lambda delta, A: 1 / 0)`. Something '
        "is divided by 0. Which argument makes it 0?")


def test_an_answer_that_is_not_implemented_is_not_tried_yet():
    def stub(delta, A):
        raise NotImplementedError

    assert exercises.verdict(exercises.find("00.2"), stub) == "not tried yet"


def test_an_answer_of_another_shape_is_wrong():
    exercise = exercises.find("03.1")
    verdict = exercises.verdict(exercise, lambda **case: exercise.solution(**case)[:, None])
    assert verdict.startswith("not yet.")


@pytest.mark.parametrize("name", names_with((tuple, list)))
@pytest.mark.parametrize("changed", [
    lambda result: result[:-1], lambda result: (*result, result[-1]), lambda result: (),
    lambda result: (result,), lambda result: result[0]], ids=[
        "shorter", "longer", "empty", "nested", "the first alone"])
def test_a_tuple_of_another_length_is_wrong(name, changed):
    exercise = exercises.find(name)
    verdict = exercises.verdict(exercise, changed_answer(exercise, changed))
    assert verdict.startswith(("not yet.", "not tried yet"))


@pytest.mark.parametrize("name", names_with(torch.Tensor))
def test_an_answer_that_would_broadcast_to_the_solution_is_wrong(name):
    exercise = exercises.find(name)
    verdict = exercises.verdict(exercise, changed_answer(exercise, lambda found: found[None]))
    assert verdict.startswith("not yet.")


def scaled(result, factor):
    """A result, or each part of it, times a factor."""
    if isinstance(result, dict):
        return {name: part * factor for name, part in result.items()}
    if isinstance(result, (tuple, list)):
        return type(result)(scaled(part, factor) for part in result)
    return result * factor


@pytest.mark.parametrize("name", NAMES)
def test_an_answer_is_correct_up_to_rounding_and_no_further(name):
    exercise = exercises.find(name)
    small = 1e-3 if isinstance(result(exercise, exercise.cases[0]), dict) else 1e-4  # a kernel's
    for factor, expected in ((1 + 1e-6, "correct"), (1 + small, "not yet."),
                             (1 - small, "not yet.")):
        verdict = exercises.verdict(
            exercise, changed_answer(exercise, partial(scaled, factor=factor)))
        assert verdict.startswith(expected)


def test_an_answer_may_modify_its_arguments():
    exercise = exercises.find("03.1")

    def modifying(A_bar, B_bar, C, length):
        y = exercise.solution(A_bar, B_bar, C, length)
        A_bar.zero_()
        return y

    before = exercise.cases[0]["A_bar"].clone()
    assert exercises.verdict(exercise, modifying) == "correct"
    assert exercise.cases[0]["A_bar"].equal(before)


def test_the_function_of_a_reader_takes_the_place_of_the_librarys_when_it_is_correct(capsys):
    solution = exercises.find("05.1").solution
    for answer, chosen, owner in ((lambda **case: solution(**case), "answer", "your function"),
                                  (lambda **case: ..., "library", "the library's function")):
        used = exercises.use("05.1", answer, otherwise=len)
        assert used is {"answer": answer, "library": len}[chosen]
        assert owner in capsys.readouterr().out
    with pytest.raises(ValueError, match="answer: expected a function"):
        exercises.use("05.1", None, otherwise=len)


@pytest.mark.parametrize("name", ["02.9", "99.1", "two", "", 2.1, ["02.1"], {}])
def test_an_unknown_exercise_is_refused(name):
    with pytest.raises(ValueError, match="name: expected an exercise"):
        exercises.check(name, abs)


def test_an_answer_that_is_not_a_function_is_refused():
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
    ("A1.2", lambda d, p, q, b: torch.linalg.solve(torch.diag(d) - torch.outer(p, q), b),
     "sign is wrong"),
    ("A1.2", lambda d, p, q, b: torch.linalg.solve(torch.diag(d) + torch.outer(p, q), b),
     "a tensor of shape (18, 18) is made"),
    ("A1.2", lambda d, p, q, b: b / d, "diagonal only"),
    ("A1.2", lambda d, p, q, b: b / d - p * (q * b / d).sum() / d, "denominator 1"),
])
def test_a_hint_of_chapter_04_or_its_appendix_belongs_to_its_mistake(name, wrong, hint):
    assert hint in exercises.verdict(exercises.find(name), wrong)


def correct(delta, A):
    return torch.exp(torch.tensor(delta * A))


def test_progress_counts_exercises_that_were_ever_solved_by_the_reader(record, capsys):
    exercises.check("00.2", correct)
    exercises.check("00.2", lambda delta, A: 7.0)               # it stays solved
    for cell in cells("00.1"):                                  # the notebook's own do not count
        exercises.check("00.1", answer_in(cell, "00.1"))
    assert json.loads(record.read_text()) == ["00.2"]
    capsys.readouterr()
    exercises.progress()
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["00", "□", "■", "□", "□", "1", "of", "4"]
    assert [line[:2] for line in lines[:-1]] == CHAPTERS
    assert lines[-1].split() == ["all", "1", "of", str(len(NAMES))]


def test_an_answer_is_correct_even_where_it_cannot_be_recorded(record, capsys):
    record.mkdir()
    exercises.check("00.2", correct)
    assert capsys.readouterr().out.startswith("00.2: correct (not recorded: ")


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_a_chapter_has_steps_for_all_of_its_exercises_or_for_none(chapter):
    with_steps = {name for name in STEPS if name.startswith(chapter)}
    if exercises_of(chapter):
        assert with_steps in (set(), set(exercises_of(chapter)))
    assert all(len(STEPS[name]) >= 2 for name in with_steps)


def test_hint_gives_one_step_at_a_time_and_begins_again_after_the_last(capsys):
    printed = []
    for _ in range(len(STEPS["05.2"]) + 2):
        exercises.hint("05.2")
        printed.append(capsys.readouterr().out)
    for i, step in enumerate(STEPS["05.2"]):
        assert printed[i] == f"05.2, step {i + 1} of {len(STEPS['05.2'])}: {step}\n"
    assert "no more steps" in printed[-2]
    assert printed[-1] == printed[0]
    with pytest.raises(ValueError, match="name: expected an exercise"):
        exercises.hint("05.9")


def test_reset_puts_the_empty_exercise_in_the_place_of_its_cell(record, monkeypatch):
    for name in ("00.1", "00.2"):
        mark_solved(name)
    inputs = []
    shell = type("Shell", (), {"set_next_input": lambda self, text, replace: inputs.append(
        (text, replace))})()
    monkeypatch.setattr("IPython.get_ipython", lambda: shell)
    exercises.reset("00.2")
    assert inputs == [(cells("00.2")[0].source, True)]
    assert solved_exercises() == {"00.1"}
    with pytest.raises(ValueError, match="name: expected an exercise"):
        exercises.reset("00.9")


def test_reset_without_the_chapters_or_a_notebook_says_what_is_missing(monkeypatch, tmp_path):
    with pytest.raises(RuntimeError, match="in a cell of a notebook"):
        exercises.reset("00.2")
    monkeypatch.setattr(exercises.stubs, "NOTEBOOKS", tmp_path)
    with pytest.raises(FileNotFoundError, match="are not beside the library"):
        exercises.reset("00.2")


@pytest.mark.parametrize("empty", [False, True])
def test_the_record_is_beside_the_notebook(empty, tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("MINIMAMBA_SOLVED")
    if empty:
        monkeypatch.setenv("MINIMAMBA_SOLVED", "")
    monkeypatch.chdir(tmp_path)
    exercises.check("00.2", correct)
    assert (tmp_path / ".solved.json").read_text() == '["00.2"]\n'


WRITER = """
import os, sys
from minimamba.course.exercises.record import mark_solved
print("ready", flush=True)
for line in sys.stdin:
    os.environ["MINIMAMBA_SOLVED"] = line.strip()
    for number in range(25):
        mark_solved(f"{sys.argv[1]}.{number}")
    print("done", flush=True)
"""


@pytest.fixture(scope="module")
def processes():
    """Processes that each record 25 exercises for every path that they are sent."""
    started = [subprocess.Popen([sys.executable, "-c", WRITER, name], stdin=subprocess.PIPE,
                                stdout=subprocess.PIPE, text=True) for name in "abc"]
    for process in started:
        assert process.stdout.readline() == "ready\n"
    yield started
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture
def start(processes, record):
    """Let all processes write the record."""
    def start():
        for process in processes:
            process.stdin.write(f"{record}\n")
            process.stdin.flush()
    return start


def test_nothing_is_lost_when_several_processes_record(record, processes, start):
    start()
    assert [process.stdout.readline() for process in processes] == 3 * ["done\n"]
    assert json.loads(record.read_text()) == sorted(
        f"{name}.{number}" for name in "abc" for number in range(25))


def test_a_record_is_whole_whenever_its_writers_are_killed(record, processes, start):
    record.write_text(json.dumps([f"old.{number}" for number in range(5000)]))
    start()
    for process, after in zip(processes, (0.02, 0.03, 0.05), strict=True):
        time.sleep(after)
        process.kill()
        process.wait()
        assert len(solved_exercises()) >= 5000
    mark_solved("new")                                          # no killed process holds the lock
    assert "new" in solved_exercises()


def test_a_record_that_cannot_be_written_stays_as_it_was(record, monkeypatch):
    mark_solved("00.1")
    def disk_full(file, text, **options):
        file.write_bytes(text[:3].encode())
        raise OSError("No space left on device")

    monkeypatch.setattr(Path, "write_text", disk_full)
    with pytest.raises(OSError, match="No space"):
        mark_solved("00.2")
    assert record.read_text() == '["00.1"]\n'


@pytest.mark.parametrize("content", ['["00.2', "5", "", '{"00.2": 1}', '"00.2"', "[1]", "[[]]",
                                     10**5 * "["])
def test_a_damaged_record_is_reported_and_not_overwritten(record, capsys, content):
    record.write_text(content)
    exercises.check("00.2", correct)
    assert "00.2: correct (not recorded: " in capsys.readouterr().out
    with pytest.raises(ValueError, match=r"expected a list of names; delete the file"):
        exercises.progress()
    assert record.read_text() == content
