"""What the course needs around the library: data, tasks, figures, widgets, exercises."""

import importlib

MODULES = ("benchmarks", "classifier", "corpora", "exercises", "inspect", "plots", "skipping",
           "tasks", "weights", "widgets")


def __getattr__(name: str) -> object:
    """Import a module of the course when it is first used: each needs packages of its own."""
    if name in MODULES:
        return importlib.import_module(f"minimamba.course.{name}")
    raise AttributeError(f"module 'minimamba.course' has no attribute {name!r}")
