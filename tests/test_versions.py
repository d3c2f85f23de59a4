"""pyproject.toml, the constraints file and environment.yml agree."""

import re
import sys
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import Version

import minimamba

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
CONSTRAINTS = [Requirement(line) for line in (ROOT / ".constraints.txt").read_text().splitlines()
               if line and not line.startswith("#")]
CONDA = yaml.safe_load((ROOT / "environment.yml").read_text())
PLATFORMS = [{"python_version": v, "python_full_version": f"{v}.9", "sys_platform": s}
             for v in ("3.10", "3.11", "3.12", "3.13", "3.14")
             for s in ("linux", "darwin", "win32")]
# The triton that each CUDA wheel of torch requires. CPU wheels require none, so only this test
# would fail for a pair that does not fit.
TRITON_OF_TORCH = {"2.11.0": "3.6.0", "2.12.1": "3.7.1", "2.13.0": "3.7.1", "2.14.0": "3.8.0",
                   "2.15.0": "3.9.0"}


def direct_requirements():
    groups = [PROJECT["dependencies"], *PROJECT["optional-dependencies"].values()]
    found = [Requirement(text) for group in groups for text in group]
    return [r for r in found if r.name != "minimamba"]


def pin(name, platform):
    pins = [r for r in CONSTRAINTS if r.name == name
            and (r.marker is None or r.marker.evaluate(platform))]
    assert len(pins) == 1, f"{name} has {len(pins)} pins on {platform}"
    return Version(str(pins[0].specifier).removeprefix("=="))


@pytest.mark.parametrize("requirement", direct_requirements(), ids=lambda r: r.name)
def test_every_requirement_has_one_pin_within_its_range(requirement):
    for platform in PLATFORMS:
        if requirement.marker is None or requirement.marker.evaluate(platform):
            assert pin(requirement.name, platform) in requirement.specifier


def test_pinned_triton_is_the_version_that_pinned_torch_requires():
    torch, triton = (pin(name, PLATFORMS[0]) for name in ("torch", "triton"))
    assert str(triton) == TRITON_OF_TORCH[str(torch)]


@pytest.mark.parametrize(("torch", "triton"), TRITON_OF_TORCH.items())
def test_version_ranges_include_each_torch_with_its_triton(torch, triton):
    ranges = {r.name: r.specifier for r in map(Requirement, PROJECT["dependencies"])}
    assert Version(torch) in ranges["torch"]
    assert Version(triton) in ranges["triton"]


def test_triton_is_required_on_linux_only():
    triton = next(r for r in map(Requirement, PROJECT["dependencies"]) if r.name == "triton")
    assert {p["sys_platform"] for p in PLATFORMS if triton.marker.evaluate(p)} == {"linux"}


def test_conda_environment_installs_the_project_with_the_constraints():
    *packages, pip = CONDA["dependencies"]
    assert "pip" in packages
    assert pip == {"pip": ["--constraint .constraints.txt", "--editable .[course]"]}
    python = next(p for p in packages if p.startswith("python=")).removeprefix("python=")
    assert Version(f"{python}.0") in SpecifierSet(PROJECT["requires-python"])


def test_every_way_to_install_uses_the_constraints():
    for file in ("Makefile", "README.md", ".github/workflows/test.yml", "environment.yml"):
        assert ".constraints.txt" in (ROOT / file).read_text(encoding="utf-8"), file


def test_citation_has_the_version_of_the_package():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == minimamba.__version__
    assert "version" in PROJECT["dynamic"]


def test_workflow_runs_every_supported_python():
    workflow = yaml.safe_load((ROOT / ".github/workflows/test.yml").read_text())
    pythons = workflow["jobs"]["linux"]["strategy"]["matrix"]["python"]
    assert pythons[0] == re.search(r"[\d.]+", PROJECT["requires-python"]).group()
    assert workflow["jobs"]["linux"]["steps"][-1]["run"] == "make test"
    assert workflow["jobs"]["chapters-in-a-browser"]["steps"][-1]["run"] == "make browser"
