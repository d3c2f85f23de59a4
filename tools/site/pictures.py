"""The pictures on the site: in the colours of the theme, and with sizes that are known in advance.

matplotlib draws for a white page. `themed` keeps what it drew, but gives each colour a second value
for dark pages, between which the SVG itself chooses.
"""

import base64
import re
import struct
from collections.abc import Mapping

COLOUR = re.compile(r"(fill|stroke): #([0-9a-f]{6})\b")
IMAGE = re.compile(r'<image [^>]*?transform="scale\(1 -1\) translate\(0 (-[\d.]+)\)" '
                   r'x="([\d.-]+)" y="([\d.-]+)" width="([\d.]+)" height="([\d.]+)"')
TEXT = re.compile(r'<g id="text_\d+">.*?</g>\s*</g>', re.S)
PLACE = re.compile(r"translate\(([\d.-]+) ([\d.-]+)\)")
SIZE = re.compile(r'<svg [^>]*width="([\d.]+)pt" height="([\d.]+)pt"')
PICTURE = re.compile(r'<img src="(?:figures/([^"]+)|data:image/png;base64,([^"]{40})[^"]*)"[^>]*>')
PAPER, INK = (0x15, 0x18, 0x1B), (0xE2, 0xE5, 0xE8)
"""The dark page and its text, as in style.css."""


def themed(svg: str) -> str:
    """Let an SVG of matplotlib's follow the theme of the page.

    Args:
        svg: with colours written as "fill: #0072b2", and black where none is written.

    Returns:
        The SVG with a variable for each colour. Heat maps, and the numbers written on them, stay
        as they are.
    """
    def text(found: re.Match) -> str:
        place = PLACE.search(found.group())
        if place is None or not any(
                left < float(place[1]) < right and top < float(place[2]) < bottom
                for left, top, right, bottom in maps):
            return found.group()
        fixed = COLOUR.sub(r"\1:#\2", found.group())
        return fixed.replace("<g ", '<g fill="#000000" ', 1)

    def variable(found: re.Match) -> str:
        used.add(found[2])
        return f"{found[1]}: var(--c{found[2]})"

    maps = [box(found) for found in IMAGE.finditer(svg)]
    used = {"000000"}
    svg = COLOUR.sub(variable, TEXT.sub(text, svg))
    light = "".join(f"--c{colour}:#{colour};" for colour in sorted(used))
    dark = "".join(f"--c{colour}:{on_dark(colour)};" for colour in sorted(used))
    style = (f"svg{{fill:var(--c000000);{light}}}"
             f"@media screen and (prefers-color-scheme:dark){{svg{{{dark}}}}}")
    return re.sub(r"(<svg .*?>)", rf"\1<style>{style}</style>", svg, count=1, flags=re.S)


def box(image: re.Match) -> tuple[float, float, float, float]:
    """The left, top, right and bottom of a heat map; matplotlib draws it upside down."""
    shift, x, y, width, height = map(float, image.groups())
    return x, -(y + height + shift), x + width, -(y + shift)


def on_dark(colour: str) -> str:
    """The colour that stands on a dark page for one on a white page.

    White and black change places, with all greys between them. Other colours become lighter.
    """
    channels = [int(colour[i:i + 2], 16) for i in (0, 2, 4)]
    if max(channels) - min(channels) < 16:
        channels = [ink - (ink - paper) * c // 255
                    for c, ink, paper in zip(channels, INK, PAPER, strict=True)]
    else:
        channels = [c + (255 - c) // 4 for c in channels]
    return "#" + "".join(f"{c:02x}" for c in channels)


def size(svg: str) -> tuple[float, float] | None:
    """The width and height of an SVG in points, or None if it doesn't say."""
    found = SIZE.search(svg)
    return found and (float(found[1]), float(found[2]))


def with_sizes(html: str, sizes: Mapping[str, tuple[float, float] | None]) -> str:
    """Give each picture its height beside its width, so that nothing moves when it is loaded.

    Args:
        html: with pictures from figures/ and with PNGs in their addresses.
        sizes: the size of each file in figures/.
    """
    def sized(picture: re.Match) -> str:
        tag, name, png = picture.group(), picture[1], picture[2]
        if name:
            if not sizes.get(name):
                return tag
            wide, high = sizes[name]
        else:
            wide, high = struct.unpack(">II", base64.b64decode(png)[16:24])
        width = re.search(r' width="(\d+)"', tag)
        shown = int(width[1]) if width else round(wide * 100 / 72 if name else wide)
        tag = re.sub(r' width="\d+"', "", tag)
        return tag[:-1] + f' width="{shown}" height="{round(shown * high / wide)}">'

    return PICTURE.sub(sized, html)
