"""tools/addresses.py: chapters open elsewhere too, and no link is dead while no address is set."""

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent.parent / "tools"))
import addresses

from minimamba.course import benchmarks

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results"
CHAPTERS = sorted((ROOT / "notebooks").glob("*.ipynb"))
URLS = {"Repository": "https://github.com/someone/minimamba", "Site": "https://example.org/mamba/"}


@pytest.fixture
def copy(tmp_path):
    """A copy of what addresses.py reads and writes; its argument are the addresses."""
    def make(urls):
        project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
        project = re.sub(r"^\[project\.urls\]\n(.+\n)*", "", project, flags=re.M)
        lines = [f'{label} = "{url}"\n' for label, url in urls.items()]
        table = "".join(["\n[project.urls]\n", *lines]) if urls else ""
        (tmp_path / "pyproject.toml").write_text(project + table, encoding="utf-8")
        shutil.copy(ROOT / "README.md", tmp_path)
        shutil.copytree(ROOT / "notebooks", tmp_path / "notebooks", dirs_exist_ok=True)
        addresses.apply(tmp_path)
        return tmp_path
    return make


def contents(root):
    return {path.relative_to(root): path.read_text(encoding="utf-8")
            for path in (root / "README.md", *sorted((root / "notebooks").glob("*.ipynb")))}


def first_cell(path):
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return "".join(next(cell for cell in cells if cell["cell_type"] == "code")["source"])


def test_what_is_committed_has_the_addresses_of_pyproject(copy):
    assert contents(copy(addresses.project_urls())) == contents(ROOT)


def test_without_an_address_nothing_leads_elsewhere(copy):
    root = copy({})
    readme = (root / "README.md").read_text(encoding="utf-8")
    for word in ("colab", "kaggle", "mybinder", "shields.io"):
        assert f"{word}." not in readme
    for path in (root / "notebooks").glob("*.ipynb"):
        assert '"install --quiet ..[notebook]"' in first_cell(path)


def test_with_an_address_badges_and_chapters_lead_there(copy):
    root = copy(URLS)
    readme = (root / "README.md").read_text(encoding="utf-8")
    for link in ("(https://example.org/mamba)",
                 "colab.research.google.com/github/someone/minimamba/blob/main/notebooks/00_start_",
                 "kaggle.com/kernels/welcome?src=https://github.com/someone/minimamba/blob/main/no",
                 "mybinder.org/v2/gh/someone/minimamba/main?labpath=notebooks/00_start_here.ipynb"):
        assert readme.count(link) == 1, link
    for path in (root / "notebooks").glob("*.ipynb"):
        cell = first_cell(path)
        assert f"""'install --quiet "minimamba[notebook] @ git+{URLS['Repository']}"'""" in cell
        assert max(map(len, cell.splitlines())) <= 100
    before = contents(root)
    addresses.apply(root)
    assert contents(root) == before


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.name[:2])
def test_a_chapter_first_finds_the_library_or_installs_it_or_says_what_to_do(
        path, monkeypatch, tmp_path):
    cell = first_cell(path)
    code = cell[:cell.index("[notebook]\")\n")] + "[notebook]\")\n"
    commands = []
    shell = type("Shell", (), {"run_line_magic": lambda self, *words: commands.append(words)})()
    names = {"get_ipython": lambda: shell}
    monkeypatch.chdir(path.parent)
    exec(code, names)
    assert commands == []
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    exec(code, names)
    assert commands == [("pip", "install --quiet ..[notebook]")]
    monkeypatch.chdir(tmp_path)                  # where only the chapter is
    with pytest.raises(AssertionError, match=r"^Get the whole course, and run make course in its"):
        exec(code, names)
    assert len(commands) == 1


def test_an_installed_library_has_the_results_of_the_benchmarks(tmp_path, monkeypatch):
    subprocess.run([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", tmp_path],
                   cwd=ROOT, check=True, capture_output=True)
    wheel, = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "installed")
    folder = tmp_path / "installed" / "minimamba" / "course" / "results"
    expected = {path.name: path.read_bytes() for path in RESULTS.glob("*.json")}
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == expected
    assert benchmarks.FOLDERS[1] == Path(benchmarks.__file__).parent / "results"
    monkeypatch.setattr(benchmarks, "FOLDERS", (tmp_path / "no clone", folder))
    assert benchmarks.benchmark_results("digits_cpu") == json.loads(expected["digits_cpu.json"])
    with pytest.raises(ValueError, match=r"name: expected .+'digits_cpu'.+, got 'digits'"):
        benchmarks.benchmark_results("digits")


RUN = """
import sys, nbformat
from nbclient import NotebookClient
for name in sys.argv[1:]:
    NotebookClient(nbformat.read(name, as_version=4), timeout=600, kernel_name="python3").execute()
"""


@pytest.mark.slow
def test_chapters_run_from_an_empty_folder_where_only_torch_and_jupyter_are_installed(
        copy, tmp_path_factory):
    """No target runs this, since it downloads torch: pytest -m slow tests/test_addresses.py."""
    root = copy({"Repository": f"file://localhost{ROOT}"})
    empty = tmp_path_factory.mktemp("empty")
    names = ["00_start_here.ipynb", "05_selectivity.ipynb", "06_the_scan.ipynb"]
    for name in names:
        shutil.copy(root / "notebooks" / name, empty)
    venv.create(empty / "venv", with_pip=True)
    python = empty / "venv" / "bin" / "python"
    outside = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}

    def run(*words):
        done = subprocess.run([python, *words], cwd=empty, env=outside, check=False, text=True,
                              capture_output=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    run("-m", "pip", "install", "--quiet", "-c", ROOT / ".constraints.txt", "torch", "nbclient",
        "ipykernel")
    before = run("-c", "import torch; print(torch.__version__)")
    run("-c", RUN, *names)
    assert run("-c", "import torch; print(torch.__version__)") == before
    assert "site-packages" in run("-c", "import minimamba; print(minimamba.__file__)")
