"""Write the course as static pages: `build.py FOLDER`. Reads the executed notebooks, runs nothing.

The pages need no server, no kernel and no network: FOLDER can be opened from a disk.
"""

import json
import re
import shutil
import sys
from collections.abc import Callable
from html import escape, unescape
from pathlib import Path

import nbformat
import prose
import yaml
from cells import Body
from jinja2 import Environment, FileSystemLoader, StrictUndefined

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
ENTRY = re.compile(r"<tr>\s*<td>(.*?)</td>(.*?)</tr>", re.S)
HEADING = re.compile(r'<h([123]) id="(.*?)">(.*?)</h\1>', re.S)


def module_of_library(name: str) -> str:
    from minimamba.course.widgets.javascript import bundle  # only now: it takes seconds to import

    return bundle(name)


def build(site: Path, notebooks: Path = ROOT / "notebooks",
          module: Callable[[str], str] = module_of_library) -> None:
    """Write the whole site anew; `module` gives the JavaScript of a widget by its file's name."""
    if site.exists() and any(site.iterdir()):
        if not (site / "index.js").exists():
            raise ValueError(f"{site}: this folder holds something else than an earlier site")
        shutil.rmtree(site)
    shutil.copytree(ROOT / "figures", site / "figures", ignore=shutil.ignore_patterns("*.md"),
                    dirs_exist_ok=True)
    shutil.copytree(notebooks, site / "notebooks", ignore=lambda folder, names: [
        name for name in names if not name.endswith(".ipynb")])
    for name in ("style.css", "search.js", "widgets.js", "math.woff2", "math.txt"):
        shutil.copy(HERE / name, site)

    body = Body(captions())
    chapters = [chapter(path, body) for path in sorted(notebooks.glob("*.ipynb"))]
    if (notebooks / "glossary.md").exists():
        chapters.append(glossary(notebooks / "glossary.md"))
    write_pages(chapters, site)
    write_script(site / "index.js", "COURSE", [s for c in chapters for s in c["sections"]])
    write_script(site / "modules.js", "MODULES", {n: module(n) for n in sorted(body.modules)})


def captions() -> dict[str, str]:
    """The name of each figure by its caption, which the SVG carries."""
    found = {}
    for path in sorted((ROOT / "figures").glob("*.svg")):
        words = re.search("<dc:description>(.+?)</dc:description>", path.read_text("utf-8"), re.S)
        found[unescape(words.group(1))] = path.name
    return found


def chapter(path: Path, body: Body) -> dict:
    html = body.render(nbformat.read(path, as_version=4))
    first = HEADING.search(html)
    page = {"url": f"{path.stem}.html", "title": prose.text(first.group(3)), "html": html,
            "source": source(path.name)}
    return page | {"sections": sections(page)}


def glossary(path: Path) -> dict:
    """The page of symbols and words; each can be pointed at, and the search finds it by itself."""
    found = []

    def entry(row: re.Match) -> str:
        title = prose.text(row.group(1))
        name = title.replace(" ", "-")
        found.append({"url": f"{path.stem}.html#{name}", "chapter": "Glossary", "title": title,
                      "text": prose.text(row.group(2)), "level": 3})
        return f'<tr id="{escape(name)}"><td>{row.group(1)}</td>{row.group(2)}</tr>'

    html = ENTRY.sub(entry, prose.render(path.read_text("utf-8")))
    page = {"url": f"{path.stem}.html", "title": "Glossary", "html": html, "source": None}
    return page | {"sections": [s | {"text": ""} for s in sections(page)] + found}


def source(name: str) -> str:
    """The notebook in the repository, where CITATION.cff names one; else the copy beside."""
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
    repository = citation.get("repository-code")
    return f"{repository}/blob/main/notebooks/{name}" if repository else f"notebooks/{name}"


def sections(page: dict) -> list[dict]:
    """From each heading to the next: what the search looks through, and the page's contents."""
    _, *parts = HEADING.split(page["html"])
    return [{"url": f"{page['url']}#{unescape(name)}", "chapter": page["title"],
             "title": prose.text(title), "text": prose.text(html), "level": int(level)}
            for level, name, title, html in zip(*[iter(parts)] * 4, strict=True)]


def write_pages(chapters: list[dict], site: Path) -> None:
    template = Environment(loader=FileSystemLoader(HERE), autoescape=True, trim_blocks=True,
                           lstrip_blocks=True, undefined=StrictUndefined).get_template("page.html")
    around = [None, *chapters, None]
    for before, page, after in zip(around, chapters, around[2:], strict=False):
        html = template.render(chapters=chapters, page=page, before=before, after=after)
        (site / page["url"]).write_text(html, encoding="utf-8")
    shutil.copy(site / chapters[0]["url"], site / "index.html")


def write_script(path: Path, name: str, value: object) -> None:
    """Data as a script, because a page opened from a disk may not read other files."""
    path.write_text(f"window.{name} = {json.dumps(value, ensure_ascii=False)};\n", "utf-8")


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    build(folder)
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    print(f"{folder}/index.html: {len(list(folder.glob('notebooks/*')))} chapters, "
          f"{size / 1e6:.1f} MB. Open it, or serve the folder: python -m http.server -d {folder}")
