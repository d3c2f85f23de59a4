"""That `make mutants` plants what it says; planting all of them takes half an hour."""

import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent.parent / "tools"))
from faults import FAULTS, Fault
from mutants import plant

ROOT = Path(__file__).parent.parent
GPU_ONLY = {"cuda_graph.py"}
"""What nothing runs without a GPU: a fault in it would survive here."""


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_fault_can_be_planted(fault):
    assert fault.before != fault.after
    assert (ROOT / "minimamba" / fault.file).read_text(encoding="utf-8").count(fault.before) == 1
    assert (ROOT / "tests" / fault.tests.split()[0]).is_file()
    assert len(list((ROOT / "notebooks").glob(f"{fault.chapter}_*.ipynb"))) == 1


def test_there_are_sixty_or_more_in_all_modules():
    names = [fault.name for fault in FAULTS]
    assert len(set(names)) == len(names) >= 60
    package = ROOT / "minimamba"
    modules = {path.relative_to(package).as_posix() for path in package.rglob("*.py")}
    modules = {name for name in modules if not name.startswith(("course/exercises/", "course/weights/"))
               and (not name.endswith("__init__.py") or name == "scan/__init__.py")}
    assert modules - GPU_ONLY == set(Counter(fault.file for fault in FAULTS))


def test_a_planted_fault_is_there_once(tmp_path):
    (tmp_path / "a.py").write_text("y = x + 1\n")
    fault = Fault("a sign", "a.py", "x + 1", "x - 1", "", "")
    plant(fault, tmp_path)
    assert (tmp_path / "a.py").read_text() == "y = x - 1\n"
    with pytest.raises(ValueError, match=r"a sign: a\.py should hold once, and holds 0 times"):
        plant(fault, tmp_path)


def test_a_planted_fault_turns_a_test_and_a_chapter_red():
    name = "the bilinear rule is not centered"
    done = subprocess.run([sys.executable, ROOT / "tools" / "mutants.py", name],
                          capture_output=True, text=True, check=True)
    row = next(line for line in done.stdout.splitlines() if line.startswith(f"| {name} |"))
    assert "| test_discretize.py::" in row
    assert "| 02, cell " in row
