"""The README's promises that a machine can check."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_its_links_lead_somewhere():
    for link in re.findall(r"\]\(([^)\s]+)\)", README):
        assert link.startswith("http") or (ROOT / link).is_file(), link


def test_its_example_runs():
    example = re.search(r"```python\n(.+?)```", README, flags=re.S).group(1)
    subprocess.run([sys.executable, "-c", example + "\nassert y.shape == x.shape"], check=True)


def test_its_commands_are_targets_of_the_makefile():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in set(re.findall(r"make (course|test|notebooks|figures)", README)):
        assert re.search(rf"^{target}:", makefile, flags=re.M), target


def test_its_map_lists_every_notebook_and_every_module():
    for path in (ROOT / "notebooks").glob("*.ipynb"):
        assert f"(notebooks/{path.name})" in README
    for path in (ROOT / "minimamba").iterdir():
        if path.name not in {"__init__.py", "__pycache__"}:
            assert f"`{path.name}" in README, path.name


def test_the_command_of_the_test_section_is_what_ci_runs():
    assert "make test" in (ROOT / ".ci/run").read_text()
