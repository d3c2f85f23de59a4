"""Compare figures that the notebooks drew with those in figures/: `comparison.py FOLDER`.

Prints which figures in FOLDER differ, and fails if any does. Differences that come from the
rounding of another processor are allowed.
"""

import io
import re
import sys
from base64 import b64decode
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
NUMBER = re.compile(r"(?<!\w)-?\d+(?:\.\d+)?(?!\w)")
GENERATED_ID = re.compile(r"\b[a-z][0-9a-f]{10}\b")
"""An identifier that matplotlib derives from a shape's exact coordinates."""
HEATMAP = re.compile(r'data:image/png;base64,([^"]+)"')
COLOUR_TOLERANCE = 4
"""The largest difference between a pixel's colours, of 255 levels."""
POSITION_TOLERANCE = 0.01
"""The largest difference between positions, in points."""
NOT_REPRODUCIBLE = {"01-directions", "02-stability", "03-prediction", "05-delay", "05-gates",
                    "06-two-sums", "08-precision", "08-reversed", "10-gates", "10-held",
                    "10-induction", "10-losses", "11-attention-weights", "12-digits",
                    "A1-conditioning", "A2-exp2"}
"""Figures of rounding errors, or of models that a chapter trains: on another processor these come
out differently. Only their captions are compared; their chapters assert what they show."""


def compare(drawn: Path, kept: Path = ROOT / "figures") -> list[str]:
    """Compare two folders of SVGs.

    Args:
        drawn: the folder with new figures.
        kept: the folder with the figures that they should equal.

    Returns:
        One line for each figure that differs or exists in one folder only, sorted.
    """
    new, old = ({path.stem: path.read_text("utf-8") for path in folder.glob("*.svg")}
                for folder in (drawn, kept))
    differences = [f"{name}: not drawn" for name in old.keys() - new.keys()]
    differences += [f"{name}: not in {kept.name}/" for name in new.keys() - old.keys()]
    for name in new.keys() & old.keys():
        if caption(new[name]) != caption(old[name]):
            differences.append(f"{name}: the caption differs")
        elif name not in NOT_REPRODUCIBLE and not equal_up_to_rounding(new[name], old[name]):
            differences.append(f"{name}: the picture differs")
    return sorted(differences)


def equal_up_to_rounding(one: str, other: str) -> bool:
    """Compare two SVGs.

    Args:
        one: the text of an SVG.
        other: the text of another.

    Returns:
        Whether they differ only in numbers, by less than POSITION_TOLERANCE, and in the colours of
        heat maps, by at most COLOUR_TOLERANCE.
    """
    if one == other:
        return True
    heatmaps = zip(*(map(pixels, HEATMAP.findall(svg)) for svg in (one, other)), strict=False)
    if not all(a.shape == b.shape and abs(a - b).max() <= COLOUR_TOLERANCE for a, b in heatmaps):
        return False
    plain = [GENERATED_ID.sub("id", HEATMAP.sub("heatmap", svg)) for svg in (one, other)]
    if NUMBER.sub("0", plain[0]) != NUMBER.sub("0", plain[1]):
        return False
    numbers = (map(float, NUMBER.findall(svg)) for svg in plain)
    return all(abs(a - b) < POSITION_TOLERANCE for a, b in zip(*numbers, strict=True))


def pixels(base64: str) -> np.ndarray:
    """Decode the heat map of an SVG.

    Args:
        base64: a PNG.

    Returns:
        (rows, columns, 4), its colours from 0 to 255.
    """
    return np.asarray(Image.open(io.BytesIO(b64decode(base64))).convert("RGBA"), int)


def caption(svg: str) -> str:
    """Find the caption in the text of an SVG.

    Args:
        svg: the text of a figure that `plots.show` wrote.

    Returns:
        The caption, with XML's escapes.
    """
    return re.search("<dc:description>(.+?)</dc:description>", svg, re.S).group(1)


if __name__ == "__main__":
    sys.exit("\n".join(compare(Path(sys.argv[1]))) or None)
