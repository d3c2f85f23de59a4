"""What every explorer is whose drawing needs Python: sliders over a picture, and the picture alone
where no kernel runs."""

import base64
from html import escape

import ipywidgets

from minimamba import plots


class Explorer(ipywidgets.VBox):
    """Sliders above a picture with words. A subclass calls `_show` when a slider has moved."""

    def __init__(self, sliders: list[ipywidgets.Widget], name: str) -> None:
        self.picture = ipywidgets.HTML()
        super().__init__([*sliders, self.picture])
        self.add_class(f"minimamba-{name}")

    def _show(self, png: bytes, caption: str) -> None:
        self._png, self._caption = png, caption
        data = base64.b64encode(png).decode()
        self.picture.value = (f'<img src="data:image/png;base64,{data}" '
                              f'alt="{escape(caption)}" style="max-width: 100%">')

    def _repr_mimebundle_(self, **kwargs: object) -> tuple[dict, dict]:
        """The live widget, and beside it the still picture for a page without a kernel."""
        return with_still(super()._repr_mimebundle_(**kwargs), repr(self), self._png, self._caption)


def with_still(bundle: dict, text: str, png: bytes, caption: str) -> tuple[dict, dict]:
    """What a notebook saves of a widget, with its call and a picture that has words."""
    picture = base64.b64encode(plots.compact(png)).decode()
    return ({**bundle, "text/plain": text, "image/png": picture},
            {"image/png": {"alt": caption}})


def look(label_width: int) -> dict:
    """The same look for every slider of an explorer, with room for its longest label."""
    return {"style": {"description_width": f"{label_width}px"},
            "layout": ipywidgets.Layout(width=f"{400 + label_width}px")}
