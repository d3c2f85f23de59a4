"""Figures drawn anew are compared with those of figures/: bit for bit, or but for rounding."""

import io
import shutil
import sys
from base64 import b64encode
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

sys.path.append(str(Path(__file__).parent.parent / "tools"))
import comparison

ROOT = Path(__file__).parent.parent


def moved(by):
    return lambda svg: comparison.NUMBER.sub(lambda found: f"{float(found[0]) + by:.6f}", svg)


def coloured(by):
    """With the middle pixel of each heat map so many levels lighter or darker."""
    def change(found):
        levels = comparison.pixels(found[1]).astype(np.uint8)
        middle = levels[len(levels) // 2, levels.shape[1] // 2, :3]
        middle += np.where(middle < 128, by, -by).astype(np.uint8)
        file = io.BytesIO()
        Image.fromarray(levels).save(file, "png")
        return f'data:image/png;base64,{b64encode(file.getvalue()).decode()}"'
    return lambda svg: comparison.PICTURE.sub(change, svg)


def without_pictures(svg):
    return comparison.PICTURE.sub('"', svg)


def elsewhere(svg):
    return svg.replace("<path ", "<path  ", 1)


@pytest.mark.parametrize(("name", "change", "said"), [
    ("02-order", lambda svg: svg, []),
    ("02-order", moved(0.002), []),
    ("02-order", moved(0.02), ["02-order: another picture"]),
    ("02-order", elsewhere, ["02-order: another picture"]),
    ("02-order", lambda svg: comparison.MADE_UP.sub("m0123456789", svg), []),
    ("09-quote", coloured(4), []),
    ("09-quote", coloured(5), ["09-quote: another picture"]),
    ("09-quote", without_pictures, ["09-quote: another picture"]),
    ("10-losses", elsewhere, []),
    ("10-losses", lambda svg: svg.replace("<dc:description>", "<dc:description>Not ", 1),
     ["10-losses: other words"]),
    ("10-losses", None, ["10-losses: not drawn"]),
])
def test_a_figure_is_compared_to_the_last_digit_or_nearly(tmp_path, name, change, said):
    drawn, kept = tmp_path / "drawn", tmp_path / "kept"
    for folder in (drawn, kept):
        folder.mkdir()
        shutil.copy(ROOT / f"figures/{name}.svg", folder)
    if change is None:
        (drawn / f"{name}.svg").unlink()
    else:
        file = drawn / f"{name}.svg"
        file.write_text(change(file.read_text("utf-8")), "utf-8")
    assert comparison.compare(drawn, kept) == said


def test_every_figure_but_those_of_trainings_is_compared():
    assert {path.stem for path in (ROOT / "figures").glob("*.svg")} > comparison.FREE
