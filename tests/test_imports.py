"""Who may import whom, and what the library needs to be imported at all."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "minimamba"
# Bottom up: a module may import only from floors below its own.
FLOORS = [["arguments"], ["shapes"], ["continuous"], ["discretize"], ["lti"],
          ["scan"], ["ops"], ["compat", "environment", "s4"], ["nn"], ["lm"], ["cuda_graph"],
          ["checkpoint", "generation"], ["training"],
          ["course"], ["cli"]]


def modules():
    return [p for p in PACKAGE.rglob("*.py") if p != PACKAGE / "__init__.py"]


def floor_of(name):
    return next(i for i, floor in enumerate(FLOORS) if name in floor)


def imported_by(path):
    """The first part below minimamba of every module that a file imports."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("minimamba"):
            parts = node.module.split(".")[1:2] or [alias.name for alias in node.names]
            yield from parts
        elif isinstance(node, ast.Import):
            yield from (a.name.split(".")[1] for a in node.names if a.name.startswith("minimamba."))


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_run_downward(path):
    own = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    for other in imported_by(path):
        assert other == own or floor_of(other) < floor_of(own), f"{own} imports {other}"


def test_the_cpu_paths_need_torch_alone():
    # As on macOS and Windows, where there is no triton, and without the course's packages.
    code = """
import sys
for name in ("triton", "matplotlib", "anywidget", "ipywidgets", "IPython", "scipy", "tqdm"):
    sys.modules[name] = None
import torch
from minimamba import continuous, discretize, environment, lti, selective_scan
A, B = torch.tensor([-1.0, -2.0]), torch.ones(2)
A_bar, B_bar = discretize.zoh(A, B, 0.1)
lti.convolve(lti.kernel(A_bar, B_bar, B, 8), torch.ones(8))
ones = torch.ones(1, 8, 2)
selective_scan(ones, ones, -torch.ones(2, 2), ones, ones)
assert environment.triton_mode() == "none"
"""
    subprocess.run([sys.executable, "-c", code], check=True)
