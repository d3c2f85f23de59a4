"""Write the course's public addresses where readers need them: `addresses.py`.

They come from one place, [project.urls] of pyproject.toml. With a Repository there, the README
gets badges that open the course elsewhere, and the first cell of a chapter can install the library
from it. Without one, there are no badges, and that cell installs from the folder above it; if the
course isn't there, because a chapter was opened alone, the cell says what to do.
"""

import json
import re
import sys
from pathlib import Path

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parent.parent
BADGES = re.compile(r"(<!-- badges, by tools/addresses\.py -->\n).*?(<!-- end -->\n)", re.S)
FIND = re.compile(r'import importlib\.util\n.*?    get_ipython\(\)\.run_line_magic\(.+?\)\n', re.S)


def project_urls(root: Path = ROOT) -> dict[str, str]:
    """Read [project.urls].

    Args:
        root: the folder of pyproject.toml.

    Returns:
        For each label, such as "Repository", its address without a slash at the end.
    """
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return {label: url.rstrip("/") for label, url in project.get("urls", {}).items()}


def badges(urls: dict[str, str]) -> str:
    """The badges of the README, a line each; none without a repository on GitHub."""
    lines = []
    if "Site" in urls:
        lines.append(f"[![read online](https://img.shields.io/badge/read-online-blue)]"
                     f"({urls['Site']})")
    repository = urls.get("Repository", "")
    if repository.startswith("https://github.com/"):
        name = repository.removeprefix("https://github.com/")
        first = "notebooks/00_start_here.ipynb"
        lines += [
            "[![open in Colab](https://colab.research.google.com/assets/colab-badge.svg)]"
            f"(https://colab.research.google.com/github/{name}/blob/main/{first})",
            "[![open in Kaggle](https://kaggle.com/static/images/open-in-kaggle.svg)]"
            f"(https://kaggle.com/kernels/welcome?src={repository}/blob/main/{first})",
            "[![open in Binder](https://mybinder.org/badge_logo.svg)]"
            f"(https://mybinder.org/v2/gh/{name}/main?labpath={first})"]
    return "".join(f"{line}\n" for line in lines)


def find_library(urls: dict[str, str]) -> str:
    """The first statements of a chapter: they install the library if it is missing."""
    if "Repository" in urls:
        source = f"minimamba[notebook] @ git+{urls['Repository']}"
        return f"""\
import importlib.util

if importlib.util.find_spec("minimamba") is None:    # outside of a clone, for example on Colab
    get_ipython().run_line_magic(
        "pip", 'install --quiet "{source}"')
"""
    return """\
import importlib.util
import os

if importlib.util.find_spec("minimamba") is None:    # another Python than that of make course
    assert os.path.isdir("../minimamba"), "Get the whole course, and run make course in its folder."
    get_ipython().run_line_magic("pip", "install --quiet ..[notebook]")
"""


def apply(root: Path = ROOT) -> None:
    """Write the addresses into the README and the chapters.

    Args:
        root: the folder of the repository.
    """
    urls = project_urls(root)
    readme = root / "README.md"
    text = readme.read_text(encoding="utf-8")
    readme.write_text(BADGES.sub(lambda found: found[1] + badges(urls) + found[2], text),
                      encoding="utf-8")
    for path in sorted((root / "notebooks").glob("*.ipynb")):
        book = json.loads(path.read_text(encoding="utf-8"))
        first = next(cell for cell in book["cells"] if cell["cell_type"] == "code")
        source = FIND.sub(lambda _: find_library(urls), "".join(first["source"]), count=1)
        first["source"] = source.splitlines(keepends=True)
        text = json.dumps(book, indent=1, ensure_ascii=False, sort_keys=True)
        path.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    apply()
