"""Run the notebooks: `notebooks.py save` saves them, `notebooks.py figures` redraws figures/.

Each notebook runs in a fresh kernel, two notebooks at a time; what changed is printed. Saved
notebooks contain no times, no widget state and no progress bars.
"""

import os
import re
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

import nbformat
from comparison import caption
from nbclient import NotebookClient
from nbformat import NotebookNode
from tqdm import tqdm

from minimamba.atomic import replacing

ROOT = Path(__file__).resolve().parent.parent
# Saved notebooks show no exercise as solved.
os.environ["MINIMAMBA_SOLVED"] = str(ROOT / ".venv" / "no-exercise-solved")
BAR = re.compile(r"[^\n]*\r")
WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
NO_WIDGETS = {"application/vnd.jupyter.widget-state+json": {
    "state": {}, "version_major": 2, "version_minor": 0}}
"""What JupyterLab saves of the widgets of a notebook in which none has run."""


def run(path: Path) -> NotebookNode:
    """Execute a notebook in a fresh kernel, and remove what differs from run to run."""
    book = nbformat.read(path, as_version=4)
    NotebookClient(book, timeout=600, kernel_name="python3", record_timing=False,
                   coalesce_streams=True,
                   extra_arguments=["--IPKernelApp.log_level=40"],
                   resources={"metadata": {"path": str(path.parent)}}).execute()
    # What JupyterLab would write into a notebook that is only opened. The kernel gave the rest.
    book.metadata = {"kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python",
                                    "name": "python3"},
                     "language_info": book.metadata.language_info,
                     "widgets": NO_WIDGETS}
    for cell in book.cells:
        cell.metadata.pop("execution", None)
        if cell.metadata.get("jupyter", {}).get("source_hidden"):
            cell.metadata.cellView = "form"  # Colab's word for it
        if cell.cell_type == "code":
            # Values that differ between processors are printed in cells whose output nbval ignores.
            # What they say on stderr, such as a warning, is not saved.
            ignored = "nbval-ignore-output" in cell.metadata.get("tags", [])
            cell.outputs = [without_view(output) for output in map(without_bar, cell.outputs)
                            if output.get("text") != ""
                            and not (ignored and output.get("name") == "stderr")]
    return book


def without_bar(output: NotebookNode) -> NotebookNode:
    """Remove what progress leaves behind: the line that was there, and the blanks over it."""
    if output.get("name") == "stdout":
        output.text = BAR.sub("", output.text)
    return output


def without_view(output: NotebookNode) -> NotebookNode:
    """Remove the view of a widget that has a still picture: the picture needs no kernel."""
    if "image/png" in output.get("data", {}):
        output.data.pop(WIDGET_VIEW, None)
    return output


def changes(old: NotebookNode, new: NotebookNode) -> list[str]:
    """Describe the differences between two runs, one line per cell."""
    lines = []
    for number, (a, b) in enumerate(zip(old.cells, new.cells, strict=True)):
        if a.cell_type == "code" and a.get("outputs") != b.outputs:
            kinds = "text" if texts(a) != texts(b) else "picture or formatting"
            lines.append(f"    cell {number}: {kinds} changed: {b.source.splitlines()[0]}")
    return lines


def texts(cell: NotebookNode) -> list[str]:
    """The text of each output of a cell."""
    return [o.get("text") or str(o.get("data", {}).get("text/plain")) for o in cell.outputs]


def run_all() -> dict[Path, NotebookNode]:
    """Execute every notebook, two at a time."""
    paths = sorted((ROOT / "notebooks").glob("*.ipynb"))
    with ThreadPoolExecutor(2) as pool:
        jobs = {pool.submit(run, path): path for path in paths}
        for job in tqdm(as_completed(jobs), total=len(jobs), desc="notebooks"):
            job.result()
    return {path: job.result() for job, path in sorted(jobs.items(), key=lambda item: item[1])}


def save() -> None:
    """Run and save every notebook, and print what changed."""
    for path, book in run_all().items():
        old = nbformat.read(path, as_version=4)
        lines = changes(old, book)
        if old != book:
            with replacing(path) as temporary:
                nbformat.write(book, temporary)
        print(f"{path.relative_to(ROOT)}: " + ("saved" if old != book else "unchanged"))
        print("\n".join(lines), end="\n" if lines else "")


def figures() -> None:
    """Replace figures/ by what the notebooks draw, and print what changed."""
    folder = ROOT / "figures"
    with tempfile.TemporaryDirectory() as fresh:
        os.environ["MINIMAMBA_FIGURES"] = fresh
        run_all()
        drawn = {path.name: path.read_bytes() for path in Path(fresh).glob("*.svg")}
    before = {path.name: path.read_bytes() for path in folder.glob("*.svg")}
    for name in sorted(drawn.keys() | before.keys()):
        if name not in drawn:
            (folder / name).unlink()
            print(f"figures/{name}: removed, no notebook draws it")
        elif drawn[name] != before.get(name):
            with replacing(folder / name) as temporary:
                temporary.write_bytes(drawn[name])
            print(f"figures/{name}: " + ("changed" if name in before else "new"))
        else:
            print(f"figures/{name}: unchanged")
    with replacing(folder / "README.md") as temporary:
        temporary.write_text(index(drawn), encoding="utf-8")


def index(drawn: dict[str, bytes]) -> str:
    """The text of figures/README.md: every figure with the caption that its SVG contains."""
    lines = ["# Figures", "", "Drawn by the chapters (`make figures`). The first two "
             "characters of a name are the chapter's. Use what you like in a lecture."]
    for name, svg in sorted(drawn.items()):
        words = caption(svg.decode())
        lines += ["", f"![{words}]({name})", "", f"**{name}** {words}"]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    {"save": save, "figures": figures}[sys.argv[1]]()
