"""What a reader drags: one widget a file, each a thin face over the library and a figure."""

from minimamba.widgets.delta_explorer import DeltaExplorer

__all__ = ["DeltaExplorer"]
