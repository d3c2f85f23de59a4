"""Where the repository is, and where a notebook can be opened; all from [project.urls]."""

import re
import sys
from pathlib import Path

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

GITHUB = re.compile(r"https://github\.com/([\w.-]+/[\w.-]+?)(?:\.git)?/?")
SERVICES = {
    "Colab": "https://colab.research.google.com/github/{name}/blob/main/{path}",
    "Kaggle": "https://kaggle.com/kernels/welcome?src=https://github.com/{name}/blob/main/{path}",
    "Binder": "https://mybinder.org/v2/gh/{name}/main?labpath={path}",
}
"""Services that open a notebook of a repository on GitHub."""


def repository(project: Path) -> str | None:
    """The address of the repository that a pyproject.toml names, or None."""
    urls = tomllib.loads(project.read_text("utf-8"))["project"].get("urls", {})
    return {name.lower(): url for name, url in urls.items()}.get("repository")


def services(repository: str | None, path: str) -> dict[str, str]:
    """The address at which each service opens a file of the repository; none outside GitHub."""
    found = GITHUB.fullmatch(repository or "")
    if found is None:
        return {}
    return {service: url.format(name=found[1], path=path) for service, url in SERVICES.items()}


def clone(repository: str) -> str:
    """The command that installs the course and opens it."""
    folder = repository.rstrip("/").removesuffix(".git").rsplit("/", 1)[-1]
    return f"git clone {repository} && cd {folder} && make course"
