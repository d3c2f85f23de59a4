"""The environment report tells the three states of Triton apart."""

import importlib.util

import pytest
import torch

from minimamba import environment


@pytest.mark.parametrize(("installed", "gpu", "asked", "mode"), [
    (False, False, "", "none"), (False, True, "", "none"), (True, False, "", "interpreter"),
    (True, True, "", "native"), (True, True, "1", "interpreter")])
def test_triton_mode(monkeypatch, installed, gpu, asked, mode):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object() if installed else None)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    monkeypatch.setenv("TRITON_INTERPRET", asked)
    assert environment.triton_mode() == mode


def test_the_report_names_what_matters():
    lines = dict(line.split(maxsplit=1) for line in environment.report().splitlines())
    assert list(lines) == ["Python", "torch", "processor", "GPU", "Triton"]
    assert lines["torch"] == torch.__version__
