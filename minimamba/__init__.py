"""Mamba from the state space up: the library that the course in `notebooks/` builds and tests.

Read the modules in this order, each of which uses only those before it: `continuous`,
`discretize`, `lti`, `s4`, `scan`, `ssd`, `nn`, `lm`. The README has the map.
"""

import importlib

from minimamba import interruption  # noqa: F401 - before torch, whose import takes seconds

# isort: split
from minimamba import (
    checkpoint,
    compat,
    config,
    continuous,
    discretize,
    environment,
    generation,
    lm,
    lti,
    s4,
    scan,
    training,
)
from minimamba.config import MambaConfig
from minimamba.generation import generate
from minimamba.lm import MambaLM
from minimamba.nn import S6, Mamba, Mamba2, Mamba2Cache, MambaCache
from minimamba.s4 import S4D
from minimamba.scan import selective_scan

# The function takes the package's name here; `from minimamba.ssd import …` finds the package.
from minimamba.ssd import ssd

__all__ = ["S4D", "S6", "Mamba", "Mamba2", "Mamba2Cache", "MambaCache", "MambaConfig", "MambaLM",
           "checkpoint", "compat", "config", "continuous", "discretize", "environment", "generate",
           "generation", "lm", "lti", "s4", "scan", "selective_scan", "ssd", "training"]
__version__ = "0.1.0"


def __getattr__(name: str) -> object:
    """Import `minimamba.course` when it is first used: it needs the course's packages."""
    if name == "course":
        return importlib.import_module("minimamba.course")
    raise AttributeError(f"module 'minimamba' has no attribute {name!r}")
