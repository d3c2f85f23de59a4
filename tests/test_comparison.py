"""tools/comparison.py: differences between figures are reported, except for rounding; and the list
of figures by tools/notebooks.py."""

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

import notebooks

ROOT = Path(__file__).parent.parent


def unchanged(svg):
    return svg


def numbers_shifted(by):
    """Shift every number behind the caption."""
    def change(svg):
        caption, end, picture = svg.partition("</metadata>")
        return caption + end + comparison.NUMBER.sub(
            lambda found: f"{float(found[0]) + by:.6f}", picture)
    return change


def heatmaps_changed(by):
    """Make the middle pixel of each heat map lighter or darker by some levels."""
    def change(found):
        colours = comparison.pixels(found[1]).astype(np.uint8)
        middle = colours[len(colours) // 2, colours.shape[1] // 2, :3]
        middle += np.where(middle < 128, by, -by).astype(np.uint8)
        file = io.BytesIO()
        Image.fromarray(colours).save(file, "png")
        return f'data:image/png;base64,{b64encode(file.getvalue()).decode()}"'
    return lambda svg: comparison.HEATMAP.sub(change, svg)


def without_heatmaps(svg):
    return comparison.HEATMAP.sub('"', svg)


def other_markup(svg):
    return svg.replace("<path ", "<path  ", 1)


def other_ids(svg):
    return comparison.GENERATED_ID.sub("m0123456789", svg)


def other_caption(svg):
    return svg.replace("<dc:description>", "<dc:description>Not ", 1)


@pytest.mark.parametrize(("name", "change", "differences"), [
    ("02-order", unchanged, []),
    ("02-order", numbers_shifted(0.002), []),
    ("02-order", numbers_shifted(0.02), ["02-order: the picture differs"]),
    ("02-order", other_markup, ["02-order: the picture differs"]),
    ("02-order", other_caption, ["02-order: the caption differs"]),
    ("02-order", other_ids, []),
    ("09-quote", heatmaps_changed(comparison.COLOUR_TOLERANCE), []),
    ("09-quote", heatmaps_changed(comparison.COLOUR_TOLERANCE + 1),
     ["09-quote: the picture differs"]),
    ("09-quote", without_heatmaps, ["09-quote: the picture differs"]),
    ("10-losses", other_markup, []),
    ("10-losses", other_caption, ["10-losses: the caption differs"]),
    ("10-losses", None, ["10-losses: not drawn"]),
])
def test_a_difference_is_reported_unless_it_is_rounding(tmp_path, name, change, differences):
    drawn, kept = tmp_path / "drawn", tmp_path / "kept"
    for folder in (drawn, kept):
        folder.mkdir()
        shutil.copy(ROOT / f"figures/{name}.svg", folder)
    file = drawn / f"{name}.svg"
    if change is None:
        file.unlink()
    else:
        file.write_text(change(file.read_text("utf-8")), "utf-8")
    assert comparison.compare(drawn, kept) == differences


def test_a_figure_that_is_not_kept_is_reported(tmp_path):
    for folder in ("drawn", "kept"):
        (tmp_path / folder).mkdir()
    shutil.copy(ROOT / "figures/02-order.svg", tmp_path / "drawn")
    assert comparison.compare(tmp_path / "drawn", tmp_path / "kept") == ["02-order: not in kept/"]


def test_only_figures_that_exist_are_excepted():
    assert {path.stem for path in (ROOT / "figures").glob("*.svg")} > comparison.NOT_REPRODUCIBLE


def test_the_list_of_figures_has_their_captions():
    folder = ROOT / "figures"
    drawn = {path.name: path.read_bytes() for path in folder.glob("*.svg")}
    assert (folder / "README.md").read_text("utf-8") == notebooks.index(drawn), "make figures"
