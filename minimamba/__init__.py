"""Mamba from the state space up: the library that the course in `notebooks/` tests.

Read the modules in this order, each standing on those before it: `continuous`, `discretize`,
`lti`, `scan`, `s4`, `selective`, `block`, `lm`. The README has the map.
"""

from minimamba.lm import MambaConfig, MambaLM
from minimamba.scan import selective_scan

__all__ = ["MambaConfig", "MambaLM", "selective_scan"]
__version__ = "0.1.0"
