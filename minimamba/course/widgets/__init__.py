"""What a reader drags: one widget a file, each a thin face over the library and a figure.

Beside each is a file of the same name in JavaScript, which `module` joins to the shared
explorer.js: it makes the controls, and the drawing too but for HippoExplorer's, which is Python's.
"""

from minimamba.course.widgets.delta_explorer import DeltaExplorer
from minimamba.course.widgets.explorer import module
from minimamba.course.widgets.hippo_explorer import HippoExplorer
from minimamba.course.widgets.kernel_explorer import KernelExplorer
from minimamba.course.widgets.recall_explorer import RecallExplorer
from minimamba.course.widgets.roofline_explorer import RooflineExplorer
from minimamba.course.widgets.scan_stepper import ScanStepper
from minimamba.course.widgets.stability_explorer import StabilityExplorer
from minimamba.course.widgets.state_explorer import StateExplorer
from minimamba.course.widgets.token_explorer import TokenExplorer

__all__ = ["DeltaExplorer", "HippoExplorer", "KernelExplorer", "RecallExplorer",
           "RooflineExplorer", "ScanStepper", "StabilityExplorer", "StateExplorer",
           "TokenExplorer", "module"]
