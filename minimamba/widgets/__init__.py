"""What a reader drags: one widget a file, each a thin face over the library and a figure."""

from minimamba.widgets.delta_explorer import DeltaExplorer
from minimamba.widgets.hippo_explorer import HippoExplorer
from minimamba.widgets.scan_stepper import ScanStepper
from minimamba.widgets.state_explorer import StateExplorer
from minimamba.widgets.token_explorer import TokenExplorer

__all__ = ["DeltaExplorer", "HippoExplorer", "ScanStepper", "StateExplorer", "TokenExplorer"]
