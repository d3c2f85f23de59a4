"""The recordings are what their descriptions say."""

import pytest
import torch
from sklearn.datasets import load_digits

from minimamba import corpora


def test_the_neuron_rests_fires_and_rests():
    t, x, unit = corpora.neuron()
    assert (len(t), unit) == (12000, "mV")
    assert x.dtype == t.dtype == torch.float64
    assert t[-1].item() == pytest.approx(6 - 1 / 2000)
    assert -70 < x[:900].min() < x[:900].max() < -60
    spikes = ((x[1:] > -20) & (x[:-1] <= -20)).sum().item()
    assert 40 < spikes < 60


@pytest.mark.parametrize("channel", range(4))
def test_the_eeg_is_ten_seconds_standardised(channel):
    t, x, _ = corpora.eeg(channel)
    assert len(t) == 800
    assert t[-1].item() == pytest.approx(10 - 1 / 80)
    assert x.std().item() == pytest.approx(1.0)


@pytest.mark.parametrize("channel", [4, -1, "0"])
def test_the_eeg_has_four_channels(channel):
    with pytest.raises(ValueError, match="channel: expected 0, 1, 2 or 3"):
        corpora.eeg(channel)


def test_the_digits_are_what_they_say():
    learned, held_out = corpora.digits()
    assert learned.x.shape == (1437, 64, 1)
    assert held_out.x.shape == (360, 64, 1)
    assert learned.x.dtype == torch.float32
    assert learned.y.dtype == torch.int64
    for part in (learned, held_out):
        assert part.x.min() == -1
        assert part.x.max() == 1
        assert torch.bincount(part.y, minlength=10).min() > 25
    # A zero is dark around and light within: read row by row, as a picture.
    zero = learned.x[learned.y == 0].mean(0).view(8, 8)
    assert zero[4, 3:5].max() < zero[4, 2] - 0.5
    assert zero[4, 0] < -0.9


def test_the_digits_are_all_there_once_in_their_order():
    raw = load_digits()
    learned, held_out = corpora.digits()
    x, y = (torch.cat(part) for part in zip(learned, held_out, strict=True))
    assert torch.equal(8 * x[..., 0] + 8, torch.from_numpy(raw.data).float())
    assert torch.equal(y, torch.from_numpy(raw.target))


def test_the_standard_library_is_split_by_file():
    import argparse
    import inspect

    learn, hold = (bytes(part.numpy()) for part in corpora.code())
    assert len(learn) > 3_000_000
    assert 0.08 < len(hold) / len(learn) < 0.25
    files = [*learn.split(b"\0")[1:], *hold.split(b"\0")[1:]]
    assert len(files) == len(set(files) - {b""}) + files.count(b"") > 150
    source = inspect.getsource(argparse).encode()
    assert (source in learn) != (source in hold)
