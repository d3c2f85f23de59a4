"""The wheel, installed into an environment with its declared dependencies and nothing else."""

import os
import subprocess
import sys
import venv
import zipfile
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parent.parent
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="symbolic links need a privilege")
IMPORTS = """
import importlib, importlib.util, pkgutil
import minimamba
for name in ("matplotlib", "anywidget", "IPython", "pytest"):
    assert importlib.util.find_spec(name) is None, f"{name} is in an environment without it"
for module in pkgutil.walk_packages(minimamba.__path__, "minimamba."):
    if not module.name.startswith(("minimamba.course.plots", "minimamba.course.widgets")):
        importlib.import_module(module.name)
"""

COMMANDS = """
import contextlib, sys
from minimamba.cli import main
with contextlib.suppress(SystemExit):
    main(["--help"])
print("---")
assert main(["info", "--checkpoint", sys.argv[1]]) == 0
assert main(["train", "--out", sys.argv[2], "--steps", "2", "--d-model", "16", "--n-layer", "1",
             "--length", "32", "--batch", "2"]) == 0
"""


def dependencies(requirements):
    """The installed distributions that a list of requirements needs, directly or indirectly."""
    found = {}
    waiting = [(Requirement(text), "") for text in requirements]
    while waiting:
        requirement, extra = waiting.pop()
        if requirement.marker and not requirement.marker.evaluate({"extra": extra}):
            continue
        for extra in ("", *requirement.extras):
            if (requirement.name, extra) not in found:
                distribution = metadata.distribution(requirement.name)
                found[requirement.name, extra] = distribution
                waiting += [(Requirement(text), extra) for text in distribution.requires or ()]
    return found.values()


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run([sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps",
                    "--no-build-isolation", "--wheel-dir", folder, ROOT], check=True)
    file, = folder.glob("*.whl")
    return file


@pytest.fixture(scope="module")
def environment(wheel, tmp_path_factory):
    """A virtual environment with the wheel; its dependencies are links to the tests' own."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False)
    site_packages, = folder.glob("lib/python*/site-packages")
    about = next(path for path in zipfile.Path(wheel).iterdir() if path.name.endswith(".dist-info"))
    for distribution in dependencies(metadata.PathDistribution(about).requires):
        for name in {file.parts[0] for file in distribution.files} - {"..", "__pycache__"}:
            if not (site_packages / name).exists():
                (site_packages / name).symlink_to(distribution.locate_file(name))
    # pip finds each declared dependency there, in a version that the wheel admits, or fails.
    subprocess.run([sys.executable, "-m", "pip", "--python", folder / "bin" / "python", "install",
                    "--quiet", "--no-index", "--disable-pip-version-check", wheel], check=True)
    return folder


@pytest.fixture
def run(environment, tmp_path):
    """Run the environment's Python, blind to PYTHONPATH and to the repository."""
    def run(*arguments):
        done = subprocess.run([environment / "bin" / "python", "-I", *map(str, arguments)],
                              cwd=tmp_path, env={**os.environ, "HF_HUB_OFFLINE": "1"},
                              capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout
    return run


@pytest.fixture
def minimamba(environment, run):
    """Run the `minimamba` command."""
    return lambda *arguments: run(environment / "bin" / "minimamba", *arguments)


@pytest.fixture(scope="module")
def checkpoint(environment):
    folder, = environment.glob("lib/python*/site-packages/minimamba/course/weights/code")
    return folder


def test_wheel_holds_the_type_marker_the_widgets_and_the_weights(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    assert "minimamba/py.typed" in names
    for pattern in ("*.py", "*.js", "*.safetensors", "*.json"):
        files = {path.relative_to(ROOT).as_posix() for path in (ROOT / "minimamba").rglob(pattern)}
        assert files
        assert files <= names
    package = wheel.name.partition("-py3")[0]
    extension = f"{package}.data/data/share/jupyter/labextensions/minimamba"
    outside = {name for name in names
               if not name.startswith(("minimamba/", f"{package}.dist-info/"))}
    assert outside == {f"{extension}/package.json", f"{extension}/reading.js"}


def test_every_module_outside_plots_and_widgets_imports_and_commands_run(run, checkpoint, tmp_path):
    """All in one process, for each takes seconds to start."""
    text = run("-c", IMPORTS + COMMANDS, checkpoint, tmp_path / "model")
    for command in ("info", "generate", "train"):
        assert command in text.partition("---")[0]
    assert "266,112 parameters" in text
    assert (tmp_path / "model" / "model.safetensors").is_file()


def test_generate_continues_a_prompt_with_the_bundled_model(minimamba, checkpoint):
    text = minimamba("generate", "--checkpoint", checkpoint, "--prompt", "def ",
                     "--max-new-tokens", 8)
    assert text.startswith("def ")
    assert len(text.encode()) == len("def ") + 8 + len("\n")
