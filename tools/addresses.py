"""Write the course's public addresses where readers need them: `addresses.py`.

They come from one place, [project.urls] of pyproject.toml. With a Repository there, the README
gets badges that open the course elsewhere, and the first cell of a chapter can install the library
from it. Without one, there are no badges, and that cell installs from the folder above it.
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
INSTALL = re.compile(r'    get_ipython\(\)\.run_line_magic\(\s*"pip", .install --quiet .+\)\n')


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


def install_line(urls: dict[str, str]) -> str:
    """The statement of a chapter's first cell that installs the library."""
    call = "    get_ipython().run_line_magic("
    if "Repository" not in urls:
        return f'{call}"pip", "install --quiet ..[notebook]")\n'
    source = f"minimamba[notebook] @ git+{urls['Repository']}"
    return f"""{call}\n        "pip", 'install --quiet "{source}"')\n"""


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
        source = INSTALL.sub(lambda _: install_line(urls), "".join(first["source"]))
        first["source"] = source.splitlines(keepends=True)
        text = json.dumps(book, indent=1, ensure_ascii=False, sort_keys=True)
        path.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    apply()
