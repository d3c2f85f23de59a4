"""Which module may import which, and what the library needs to be imported at all."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import minimamba

PACKAGE = Path(__file__).parent.parent / "minimamba"
# Bottom up: a module may import from floors below its own, and from its own package.
FLOORS = [["arguments", "atomic", "autocast", "interruption", "lock",
           "progress"], ["compiler", "shapes"],
          ["continuous"], ["discretize"], ["lti"], ["s4"],
          ["ops.launch", "ops.operator", "ops.linear", "ops.overlap"],
          ["scan"], ["ssd"],
          ["ops"],
          ["compat", "environment"], ["nn"], ["config", "files"], ["layout_keys", "tokenizer"],
          ["layouts"], ["checkpoint", "cuda_graph"], ["generation"], ["lm"], ["training"],
          ["course.weights", "course.benchmarks", "course.corpora", "course.tasks",
           "course.classifier", "course.inspect", "course.skipping"],
          ["course.plots"], ["course.exercises", "course.widgets"], ["cli"],
          ["__main__"]]
ROOM_OF = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}


def modules():
    return [path for path in PACKAGE.rglob("*.py")
            if path.parent not in (PACKAGE, PACKAGE / "course") or path.name != "__init__.py"]


def name_of(path):
    """"scan.triton.plan" for minimamba/scan/triton/plan.py."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def room_of(name):
    """The longest entry of FLOORS that a module is in."""
    fitting = [room for room in ROOM_OF if f"{name}.".startswith(f"{room}.")]
    assert fitting, f"{name} is on no floor of FLOORS in {Path(__file__).name}"
    return max(fitting, key=len)


def imports_at_run_time(tree):
    """All import statements but those for type checkers."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING":
            continue
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            yield node
        yield from imports_at_run_time(node)


def imported_by(path):
    """The modules below minimamba that a file imports, anywhere in it."""
    for node in imports_at_run_time(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif node.level:
            pytest.fail(f"{path}: relative import in line {node.lineno}")
        else:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        for name in names:
            if name.startswith("minimamba."):
                yield name.removeprefix("minimamba.")


@pytest.mark.parametrize("path", modules(), ids=name_of)
def test_imports_run_downward(path):
    own = room_of(name_of(path))
    for name in imported_by(path):
        other = room_of(name)
        assert other == own or ROOM_OF[other] < ROOM_OF[own], f"{own} imports {name}"


def test_the_cpu_paths_import_without_triton_and_without_the_course_packages():
    # As on macOS and Windows, where there is no triton.
    code = """
import sys
absent = ("triton", "matplotlib", "anywidget", "ipywidgets", "IPython", "sklearn", "scipy",
          "transformers")
for name in absent:
    sys.modules[name] = None
import torch
import minimamba
from minimamba import continuous, discretize, environment, lti, selective_scan
A, B = torch.tensor([-1.0, -2.0]), torch.ones(2)
A_bar, B_bar = discretize.zoh(A, B, 0.1)
lti.convolve(lti.kernel(A_bar, B_bar, B, 8), torch.ones(8))
ones = torch.ones(1, 8, 2)
selective_scan(ones, ones, -torch.ones(2, 2), ones, ones)
minimamba.MambaLM(minimamba.MambaConfig(256, 8, 1)).generate("a", 2)
assert environment.triton_mode() == "none"
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_star_import_leaves_torchs_nn_alone():
    assert "nn" not in minimamba.__all__


def test_import_minimamba_alone_gives_every_public_module():
    code = """
import minimamba
for name in minimamba.__all__:
    getattr(minimamba, name)
minimamba.compat.selective_scan_fn, minimamba.training.parallelize
minimamba.course.exercises.check, minimamba.course.widgets.DeltaExplorer
minimamba.course.corpora.code
"""
    subprocess.run([sys.executable, "-c", code], check=True)
