"""What a reader drags: one widget a file, each a thin face over the library and a figure.

Those that need no PyTorch while they are dragged are drawn by JavaScript: the file beside the
Python one, of the same name, which `module` joins to the shared explorer.js.
"""

from minimamba.widgets.browser_explorer import module
from minimamba.widgets.delta_explorer import DeltaExplorer
from minimamba.widgets.hippo_explorer import HippoExplorer
from minimamba.widgets.kernel_explorer import KernelExplorer
from minimamba.widgets.recall_explorer import RecallExplorer
from minimamba.widgets.roofline_explorer import RooflineExplorer
from minimamba.widgets.scan_stepper import ScanStepper
from minimamba.widgets.stability_explorer import StabilityExplorer
from minimamba.widgets.state_explorer import StateExplorer
from minimamba.widgets.token_explorer import TokenExplorer

__all__ = ["DeltaExplorer", "HippoExplorer", "KernelExplorer", "RecallExplorer",
           "RooflineExplorer", "ScanStepper", "StabilityExplorer", "StateExplorer",
           "TokenExplorer", "module"]
