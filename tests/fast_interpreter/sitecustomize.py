"""Make Triton's interpreter faster (`../interpreter.py`) where a chapter imports it.

Python runs this when it starts, if this folder is on PYTHONPATH: `make test` runs the chapters so.
"""

import contextlib
import os
import sys
from importlib.machinery import PathFinder
from pathlib import Path


def speed_up():
    sys.path.append(str(Path(__file__).parent.parent))
    try:
        with contextlib.suppress(AttributeError):            # of another version of Triton
            import interpreter

            interpreter.speed_up()
    finally:
        sys.path.pop()


class Triton:
    """Finds triton where Python would, and speeds it up once it has been imported."""

    @staticmethod
    def find_spec(name, path=None, target=None):
        if name != "triton" or os.environ.get("TRITON_INTERPRET") != "1":
            return None
        if spec := PathFinder.find_spec(name):
            run = spec.loader.exec_module
            spec.loader.exec_module = lambda module: (run(module), speed_up())
        return spec


sys.meta_path.insert(0, Triton)
