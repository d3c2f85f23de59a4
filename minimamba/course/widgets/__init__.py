"""Interactive explorers for the chapters, one per file.

Each is a Jupyter widget over functions of the library. Its task, its controls and its drawing are
made by the JavaScript module of the same name in js/. StateExplorer alone needs Python for what is
drawn, because it runs a model.
"""

from minimamba.course.widgets.delta_explorer import DeltaExplorer
from minimamba.course.widgets.duality_explorer import DualityExplorer
from minimamba.course.widgets.hippo_explorer import HippoExplorer
from minimamba.course.widgets.kernel_explorer import KernelExplorer
from minimamba.course.widgets.recall_explorer import RecallExplorer
from minimamba.course.widgets.roofline_explorer import RooflineExplorer
from minimamba.course.widgets.scan_stepper import ScanStepper
from minimamba.course.widgets.shape_explorer import ShapeExplorer
from minimamba.course.widgets.stability_explorer import StabilityExplorer
from minimamba.course.widgets.state_explorer import StateExplorer
from minimamba.course.widgets.token_explorer import TokenExplorer

__all__ = ["DeltaExplorer", "DualityExplorer", "HippoExplorer", "KernelExplorer",
           "RecallExplorer", "RooflineExplorer", "ScanStepper", "ShapeExplorer",
           "StabilityExplorer", "StateExplorer", "TokenExplorer"]
