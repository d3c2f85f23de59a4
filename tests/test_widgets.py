"""The delta explorer, without a browser: what its sliders do to its picture and its words."""

import base64
import math
from io import BytesIO

import pytest
from PIL import Image

from minimamba.widgets import DeltaExplorer
from minimamba.widgets.delta_explorer import INPUTS, STRETCHES, _shares


@pytest.fixture(scope="module")
def explorer():
    return DeltaExplorer()


@pytest.mark.parametrize(("slider", "value"), [("delta", 0.1), ("rate", 4.0), ("input", "EEG"),
                                               ("input", "step")])
def test_each_slider_changes_the_picture(explorer, slider, value):
    before = explorer.picture.value
    getattr(explorer, slider).value = value
    assert explorer.picture.value != before


def test_only_the_product_of_step_and_rate_counts():
    assert DeltaExplorer(delta=0.1, rate=1.0).half_life() == pytest.approx(
        DeltaExplorer(delta=0.01, rate=10.0).half_life())


def test_the_half_life_halves_the_pole():
    explorer = DeltaExplorer(delta=0.02, rate=3.0)
    assert math.exp(-0.02 * 3.0) ** explorer.half_life() == pytest.approx(0.5)


def test_the_words_say_what_the_picture_shows():
    explorer = DeltaExplorer(delta=1.0, rate=1.0)
    assert 'alt="The pole is 0.3679;' in explorer.picture.value
    assert "halves in 0.693 steps" in explorer.picture.value
    assert "makes up 63% of the state" in explorer.picture.value


def test_a_page_without_a_kernel_gets_a_still_picture(explorer):
    data, metadata = explorer._repr_mimebundle_()
    assert Image.open(BytesIO(base64.b64decode(data["image/png"]))).size == (810, 414)
    assert "The pole is" in metadata["image/png"]["alt"]
    assert "application/vnd.jupyter.widget-view+json" in data


@pytest.mark.parametrize("delta", [1e-4, 0.01, 10.0])
def test_the_shares_of_the_past_make_a_whole(delta):
    import torch

    kernel = torch.exp(-delta * torch.arange(12000, dtype=torch.float64))
    shares = _shares(kernel)
    assert len(shares) == len(STRETCHES)
    assert sum(shares) == pytest.approx(1.0)
    assert min(shares) >= -1e-12
    assert shares[0] == pytest.approx((kernel[0] / kernel.sum()).item())


@pytest.mark.parametrize("name", INPUTS)
def test_every_input_is_a_recording(name):
    recording = INPUTS[name]()
    assert recording.t.shape == recording.x.shape
    assert recording.unit


@pytest.mark.parametrize("bad", [{"delta": 0.0}, {"delta": 11}, {"rate": -1.0}, {"input": "noise"}])
def test_bad_input_is_refused_by_name(bad):
    with pytest.raises(ValueError, match=rf"^{next(iter(bad))}: expected .+, got"):
        DeltaExplorer(**bad)
