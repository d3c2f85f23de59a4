"""tools/mutants.py and tools/faults.py: the planted faults are well-formed, and detected."""

import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

sys.path.append(str(Path(__file__).parent.parent / "tools"))
from faults import FAULTS, Fault
from mutants import plant

ROOT = Path(__file__).parent.parent
GPU_ONLY = {"cuda_graph.py", "ops/overlap.py"}
"""Modules that run on a GPU only: a fault there would survive in CI."""
WITHOUT_FAULTS = ("course/exercises/", "course/weights/")


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_fault_can_be_planted(fault):
    assert fault.before != fault.after
    assert (ROOT / "minimamba" / fault.file).read_text(encoding="utf-8").count(fault.before) == 1
    assert (ROOT / "tests" / fault.tests.split()[0]).is_file()
    if fault.chapter is not None:
        assert len(list((ROOT / "notebooks").glob(f"{fault.chapter}_*.ipynb"))) == 1


def test_every_module_has_a_fault_and_there_are_at_least_sixty():
    names = [fault.name for fault in FAULTS]
    assert len(set(names)) == len(names) >= 60
    package = ROOT / "minimamba"
    paths = [path.relative_to(package).as_posix() for path in package.rglob("*.py")]
    modules = {path for path in paths if not path.startswith(WITHOUT_FAULTS)
               and (not path.endswith("__init__.py") or path == "scan/__init__.py")}
    assert modules - GPU_ONLY <= {fault.file for fault in FAULTS}


def test_planting_replaces_the_text_once_or_fails(tmp_path):
    (tmp_path / "a.py").write_text("y = x + 1\n")
    fault = Fault("a sign", "a.py", "x + 1", "x - 1", "", "")
    plant(fault, tmp_path)
    assert (tmp_path / "a.py").read_text() == "y = x - 1\n"
    with pytest.raises(ValueError, match=r"a sign: expected 'x \+ 1' once in a\.py, got it 0"):
        plant(fault, tmp_path)


CHAPTER = """
import torch
from minimamba import discretize
discretize.mamba(-torch.ones(1), torch.ones(1), 1.0)
"""


def test_planted_fault_is_detected_by_a_unit_test_and_a_chapter(tmp_path):
    """In a repository with a short chapter."""
    fault = next(fault for fault in FAULTS if fault.file == "discretize.py")
    for name in ("minimamba", "benchmarks", "tests"):
        (tmp_path / name).symlink_to(ROOT / name)
    shutil.copytree(ROOT / "tools", tmp_path / "tools")
    (tmp_path / "notebooks").mkdir()
    nbformat.write(new_notebook(cells=[new_code_cell(CHAPTER)]),
                   tmp_path / "notebooks" / f"{fault.chapter}_short.ipynb")
    done = subprocess.run([sys.executable, tmp_path / "tools" / "mutants.py", fault.name],
                          capture_output=True, text=True, check=True)
    row = next(line for line in done.stdout.splitlines() if line.startswith(f"| {fault.name} |"))
    assert f"| {fault.tests.split()[0]}::" in row
    assert f"| {fault.chapter}, cell " in row
