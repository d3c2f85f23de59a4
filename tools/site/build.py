"""Write the course and its API reference as static pages: `build.py FOLDER`.

The pages show notebooks that have been executed, and need no server, no kernel and no network:
FOLDER can be opened from a disk. A later build replaces it, but deletes only what a build wrote.
"""

import json
import re
import shutil
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from html import escape, unescape
from itertools import pairwise
from pathlib import Path
from urllib.parse import unquote

import libraries
import links
import nbformat
import pictures
import prose
from api import Reference
from cells import Body
from jinja2 import Environment, FileSystemLoader, StrictUndefined

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
MARKER = ".minimamba-site"
"""The file that lists all files of a site, each with its checksum: these, unless someone has
changed them, are the next build's to delete, and no others."""
NAME = re.compile(r"(?!index\.)[\w.-]+\.ipynb")
"""Names of notebooks that need no escape in an address."""
COLOUR = re.compile(r"\x1b\[[\d;]*m")
ROW = re.compile(r"<tr>(\s*<td.*?)</tr>", re.S)
CELL = re.compile(r"<td[^>]*>(.*?)</td>", re.S)
LINK = re.compile(r'href="([^"]+\.html#[^"]+)"')
TOPIC = re.compile(r"^\| \w\d \| \[[^]]*\]\(notebooks/(\w+)\.ipynb\) \| (.+?) \|$", re.M)
IN_JUPYTERLAB = ": JupyterLab opens a linked chapter at its top"
"""What does not hold for the links of the site."""
LANDING_WIDGET = "token_explorer.js"
HEADING = re.compile(r'<h([123]) id="(.*?)">(.*?)</h\1>', re.S)
CODE = re.compile(r"(?:<summary>[^<]*</summary>)?<pre\b.*?</pre>", re.S)
"""A cell's source with the title under which it is folded, or an output."""
SETUP = re.compile(r'<pre class="code">(?:(?!</pre>).)*find_spec.*?</pre>', re.S)
"""The cell that installs the library and imports what a chapter uses."""


def module_of_library(name: str) -> str:
    """The JavaScript of one of the library's widgets, by its file name."""
    from minimamba.course.widgets.javascript import bundle  # here: the import takes seconds

    return bundle(name)


def build(site: Path, notebooks: Path = ROOT / "notebooks", package: Path = ROOT / "minimamba",
          module: Callable[[str], str] = module_of_library,
          repository: str | None = links.repository(ROOT / "pyproject.toml")) -> None:
    """Write the whole site, and then put it in the place of an earlier one.

    Args:
        site: the folder; new, empty, or with an earlier site and nothing else.
        notebooks: the folder of the chapters, of questions.md and of glossary.md.
        package: the folder of the package that the API reference describes.
        module: gives the JavaScript of a widget by its file name.
        repository: the address to which pages link, such as "https://github.com/name/minimamba".

    Raises:
        ValueError: if `site` is a file or a link, or holds a file that no build wrote; for a
            notebook that can't be shown, with its name; if the libraries of the search can't be
            fetched.
    """
    check_replaceable(site)
    site.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=site.resolve().parent, prefix=".minimamba-") as folder:
        write(Path(folder), notebooks, package, module, repository)
        replace(site, Path(folder))


def check_replaceable(site: Path) -> None:
    """Refuse a folder that holds anything but an earlier site."""
    expected = f"{site}: expected a new or empty folder, or an earlier site"
    if site.is_symlink() or (site.exists() and not site.is_dir()):
        raise ValueError(f"{expected}, got a {'link' if site.is_symlink() else 'file'}")
    if not site.exists() or not any(site.iterdir()):
        return
    if not (site / MARKER).is_file():
        raise ValueError(f"{expected}, got a folder without {MARKER}")
    written = set((site / MARKER).read_text("utf-8", errors="replace").split("\n"))
    for name in sorted(files(site)):
        if name != MARKER and listed(site, name) not in written:
            raise ValueError(f"{expected}, got one with a file that no build wrote, or that was "
                             f"changed since: {name}")


def listed(site: Path, name: str) -> str:
    """The line of the marker for a file: its checksum, or where a link leads, and its name."""
    path = site / name
    if path.is_symlink():
        return f"link {path.readlink()}  {name}"
    if not path.is_file():  # a pipe or a device, which no build writes; reading it could hang
        return f"no file  {name}"
    return f"{sha256(path.read_bytes()).hexdigest()}  {name}"


def files(folder: Path) -> list[str]:
    """All files and links below a folder, relative to it."""
    return [path.relative_to(folder).as_posix() for path in folder.rglob("*")
            if path.is_symlink() or not path.is_dir()]


def replace(site: Path, new: Path) -> None:
    """Move a new site to its place; wherever this is interrupted, the next build can go on."""
    lines = [listed(new, name) for name in sorted(files(new))]
    (new / MARKER).write_text("\n".join(lines) + "\n", "utf-8")
    for old in site.iterdir():
        if old.name != MARKER:
            shutil.rmtree(old) if old.is_dir() else old.unlink()
    (new / MARKER).replace(site / MARKER)
    for path in list(new.iterdir()):
        path.replace(site / path.name)


def write(site: Path, notebooks: Path, package: Path, module: Callable[[str], str],
          repository: str | None) -> None:
    """Write the whole site into an empty folder."""
    # Files alone, since the site may lie in one of these folders.
    books = sorted(path for path in notebooks.glob("*.ipynb") if path.is_file())
    (site / "notebooks").mkdir()
    for path in books:
        shutil.copy(path, site / "notebooks")
    sizes = write_figures(site / "figures")
    for name in ("style.css", "search.js", "finding.js", "scrolling.js", "widgets.js",
                 "math.woff2", "math.txt"):
        shutil.copy(HERE / name, site)
    (site / "search-libraries.js").write_text(libraries.script(), "utf-8")

    environment = Environment(loader=FileSystemLoader(HERE), autoescape=True, trim_blocks=True,
                              lstrip_blocks=True, undefined=StrictUndefined)
    reference = Reference(package)
    body = Body(captions(), reference.find)
    chapters = []
    for path in books:
        with errors_of(path):
            chapters.append(chapter(path, body, repository))
    for name, title in (("questions.md", "Questions"), ("glossary.md", "Glossary")):
        if (notebooks / name).exists():
            with errors_of(notebooks / name):
                chapters.append(tables(notebooks / name, title, reference))
    if not chapters:
        raise ValueError(f"{notebooks}: expected notebooks, got none")
    with_questions([section for page in chapters for section in page["sections"]])
    modules = reference.pages(environment)
    for page in (*chapters, *modules):
        page["html"] = pictures.with_sizes(page["html"], sizes)
    tabs = [("Chapters", chapters), ("API reference", modules)]
    for tab in tabs:
        write_pages(site, environment, tabs, tab)
    landing = environment.get_template("landing.html")
    (site / "index.html").write_text(landing.render(
        tabs=tabs, tab=None, root="", title="Mamba, built step by step", chapters=chapters,
        topics=topics(), widget=pictures.with_sizes(body.widgets.get(LANDING_WIDGET, ""), sizes),
        repository=repository, clone=repository and links.clone(repository)), "utf-8")
    write_script(site / "index.js", "COURSE", [
        section for page in (*chapters, *modules) for section in page["sections"]])
    write_script(site / "modules.js", "MODULES", {n: module(n) for n in sorted(body.widgets)})


def write_figures(folder: Path) -> dict[str, tuple[float, float] | None]:
    """Write all figures, in the colours of both themes; the size of each by its file name."""
    folder.mkdir()
    sizes = {}
    for path in (ROOT / "figures").glob("*.svg"):
        if path.is_file():
            svg = path.read_text("utf-8")
            (folder / path.name).write_text(pictures.themed(svg), "utf-8")
            sizes[path.name] = pictures.size(svg)
    return sizes


def topics() -> dict[str, str]:
    """What each chapter shows, by the name of its notebook: the table in README.md."""
    readme = (ROOT / "README.md").read_text("utf-8")
    return {name: prose.text(prose.render(words)) for name, words in TOPIC.findall(readme)}


def captions() -> dict[str, str]:
    """The file name of each figure, by the caption that the SVG contains."""
    found = {}
    for path in sorted((ROOT / "figures").glob("*.svg")):
        words = re.search("<dc:description>(.+?)</dc:description>", path.read_text("utf-8"), re.S)
        if words:                      # else it is a drawing of someone else, in no notebook
            found[unescape(words.group(1))] = path.name
    return found


@contextmanager
def errors_of(path: Path) -> Iterator[None]:
    """Turn what is wrong with a file, which may hold anything, into one line with its name."""
    try:
        yield
    except Exception as error:
        lines = COLOUR.sub("", str(error)).split("\n")
        reason = next(filter(str.strip, lines), type(error).__name__)
        raise ValueError(f"{path.name}: {reason}") from error


def chapter(path: Path, body: Body, repository: str | None) -> dict:
    """The page of a notebook."""
    if not NAME.fullmatch(path.name):
        raise ValueError("name: expected letters, digits, '_', '.' and '-', and not index.ipynb")
    html = body.render(nbformat.read(path, as_version=4))
    first = HEADING.search(html)
    if first is None:
        raise ValueError("expected a heading, which names the page, got none")
    page = {"url": f"{path.stem}.html", "title": prose.text(first.group(3)), "html": html,
            "source": source(path.name, repository)}
    return page | {"sections": sections(page), "contents": contents(page)}


def tables(path: Path, title: str, reference: Reference) -> dict:
    """The page of the questions or of the glossary: each row has an id and can be found."""
    found = []

    def entry(row: re.Match) -> str:
        name, *others = [text for text in map(prose.text, CELL.findall(row.group(1)))
                         if not text.isdigit()]                 # the number of a question
        address = name.replace(" ", "-")
        found.append({"url": f"{path.stem}.html#{address}", "chapter": title, "title": name,
                      "text": " ".join(others), "code": "", "level": 3,
                      "answers": [unescape(unquote(url)) for url in LINK.findall(row.group(1))]})
        return f'<tr id="{escape(address)}">{row.group(1)}</tr>'

    words = path.read_text("utf-8").replace(IN_JUPYTERLAB, "")
    html = ROW.sub(entry, prose.render(words, reference.find))
    page = {"url": f"{path.stem}.html", "title": title, "html": html, "source": None}
    titles = [section | {"text": ""} for section in sections(page)]
    return page | {"sections": titles + found, "contents": contents(page)}


def with_questions(sections: list[dict]) -> None:
    """Let the search find a section by the words of the questions that refer to it."""
    asked = defaultdict(list)
    for section in sections:
        for url in section.pop("answers", ()):
            asked[url].append(section["title"])
    for section in sections:
        section["questions"] = " ".join(asked[section["url"]])


def source(name: str, repository: str | None) -> dict:
    """Where to get a notebook and where to run it: the copy in the site, and the services."""
    path = f"notebooks/{name}"
    return {"file": path, "services": links.services(repository, path),
            "repository": repository, "clone": repository and links.clone(repository)}


def sections(page: dict) -> list[dict]:
    """The text and the code from each heading to the next, for the search."""
    _, *parts = HEADING.split(SETUP.sub("", page["html"]))
    return [{"url": f"{page['url']}#{unescape(name)}", "chapter": page["title"],
             "title": prose.text(title), "text": prose.text(CODE.sub(" ", html)),
             "code": prose.text(" ".join(CODE.findall(html))), "level": int(level)}
            for level, name, title, html in zip(*[iter(parts)] * 4, strict=True)]


def contents(page: dict) -> list[dict]:
    """The headings that the navigation lists below the page's title."""
    return [{"url": f"{page['url']}#{unescape(name)}", "title": prose.text(title)}
            for level, name, title in HEADING.findall(page["html"]) if level == "2"]


def write_pages(site: Path, environment: Environment, tabs: list[tuple[str, list[dict]]],
                tab: tuple[str, list[dict]]) -> None:
    """Write the pages of one tab, each with links to the one before and the one after it."""
    template = environment.get_template("page.html")
    name, pages = tab
    for before, (page, after) in zip([None, *pages], pairwise([*pages, None]), strict=False):
        path = site / page["url"]
        path.parent.mkdir(exist_ok=True)
        path.write_text(template.render(
            tabs=tabs, tab=name, title=page["title"], pages=pages, page=page, before=before,
            after=after, root="../" * page["url"].count("/")), encoding="utf-8")


def write_script(path: Path, name: str, value: object) -> None:
    """Write data as a script: a page opened from a disk may not read other files."""
    path.write_text(f"window.{name} = {json.dumps(value, ensure_ascii=False)};\n", "utf-8")


if __name__ == "__main__":
    if len(sys.argv) != 2 or not sys.argv[1]:
        sys.exit("Usage: build.py FOLDER")
    folder = Path(sys.argv[1])
    try:
        build(folder)
    except (OSError, ValueError) as error:
        sys.exit(str(error))
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    print(f"{folder}/index.html: {len(list(folder.glob('notebooks/*')))} chapters and "
          f"{len(list(folder.glob('api/*')))} pages of API reference, {size / 1e6:.1f} MB. "
          f"Open it, or serve the folder: python -m http.server -d {folder}")
