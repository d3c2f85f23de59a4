"""Are the figures that the notebooks drew those of figures/? `comparison.py FOLDER` says which in
FOLDER are not: bit for bit, or but for what another processor rounds another way."""

import io
import re
import sys
from base64 import b64decode
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
NUMBER = re.compile(r"(?<!\w)-?\d+(?:\.\d+)?(?!\w)")
MADE_UP = re.compile(r"\b[a-z][0-9a-f]{10}\b")
"""A name that matplotlib makes of a shape, down to its last digit."""
PICTURE = re.compile(r'data:image/png;base64,([^"]+)"')
LEVELS = 4
"""Of 255, that a pixel's colours may differ by."""
# Drawn of rounding itself, or of what a chapter trains, which another processor's rounding leads
# elsewhere: of these the words are compared alone. What they show is asserted in their chapters.
FREE = {"02-stability", "04-conditioning", "05-gates", "08-precision", "10-gates", "10-held",
        "10-induction", "10-losses", "11-attention-weights"}


def compare(drawn: Path, kept: Path = ROOT / "figures") -> list[str]:
    """What is wrong with each figure that is not the same, bit for bit, or but for rounding."""
    found, wanted = ({path.stem: path.read_text("utf-8") for path in folder.glob("*.svg")}
                     for folder in (drawn, kept))
    wrong = [f"{name}: not drawn" for name in wanted.keys() - found.keys()]
    wrong += [f"{name}: not kept" for name in found.keys() - wanted.keys()]
    for name in found.keys() & wanted.keys():
        if name in FREE:
            if caption(found[name]) != caption(wanted[name]):
                wrong.append(f"{name}: other words")
        elif found[name] != wanted[name] and not alike(found[name], wanted[name]):
            wrong.append(f"{name}: another picture")
    return sorted(wrong)


def alike(one: str, other: str) -> bool:
    """The same but for numbers that differ by less than a hundredth of a point, and for colours
    of heat maps by less than can be seen."""
    maps = zip(*(map(pixels, PICTURE.findall(svg)) for svg in (one, other)), strict=False)
    if not all(a.shape == b.shape and abs(a - b).max() <= LEVELS for a, b in maps):
        return False
    one, other = (MADE_UP.sub("name", PICTURE.sub("picture", svg)) for svg in (one, other))
    numbers = zip(*(map(float, NUMBER.findall(svg)) for svg in (one, other)), strict=True)
    return NUMBER.sub("0", one) == NUMBER.sub("0", other) and all(
        abs(a - b) < 0.01 for a, b in numbers)


def pixels(picture: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(b64decode(picture))).convert("RGBA"), int)


def caption(svg: str) -> str:
    return re.search("<dc:description>(.+?)</dc:description>", svg, re.S).group(1)


if __name__ == "__main__":
    sys.exit("\n".join(compare(Path(sys.argv[1]))) or None)
