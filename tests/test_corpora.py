"""The recordings are what their descriptions say."""

import pytest
import torch

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
