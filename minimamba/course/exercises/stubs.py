"""The empty exercises as the chapters have them: what `exercises.reset` puts back."""

import json
from pathlib import Path

NOTEBOOKS = Path(__file__).parents[3] / "notebooks"
"""The course as published, in a clone; a library that was installed without one has none."""


def published_stub(name: str) -> str:
    """Find the empty function of an exercise.

    Args:
        name: of the exercise, such as "02.1".

    Returns:
        The source of its cell.

    Raises:
        FileNotFoundError: if the library was installed without the chapters.
    """
    for path in NOTEBOOKS.glob(f"{name.partition('.')[0]}_*.ipynb"):
        for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
            source = "".join(cell["source"])
            if (f'exercises.check("{name}"' in source and cell["cell_type"] == "code"
                    and "solution" not in cell["metadata"].get("tags", [])):
                return source
    raise FileNotFoundError(f"{NOTEBOOKS}: the chapters are not beside the library; open the "
                            "chapter again from where you got it")
