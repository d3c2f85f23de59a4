"""Real data that is already on the reader's machine: nothing is downloaded."""

import sysconfig
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor


class Recording(NamedTuple):
    """A signal sampled evenly: `t` (length,) in seconds, `x` (length,) in `unit`, float64."""

    t: Tensor
    x: Tensor
    unit: str


def neuron() -> Recording:
    """A neuron's membrane potential while a current makes it fire: 6 s at 2 kHz, in mV.

    `membrane.dat` of matplotlib's sample data; matplotlib's own logo example gives its sample
    interval, 0.5 ms, and its scale, 100 mV a unit.
    """
    raw = _sample("membrane.dat", np.float32)
    return Recording(torch.arange(len(raw), dtype=torch.float64) / 2000, 100 * raw, "mV")


def eeg(channel: int = 0) -> Recording:
    """One of four channels of a human electroencephalogram: 10 s at 80 Hz, standardised.

    `eeg.dat` of matplotlib's sample data; matplotlib's own example gives its duration. Its
    amplitude has no published unit, so it is divided by its standard deviation.
    """
    if channel not in range(4):
        raise ValueError(f"channel: expected 0, 1, 2 or 3, got {channel!r}")
    raw = _sample("eeg.dat", np.float64).reshape(800, 4)[:, channel]
    return Recording(torch.arange(len(raw), dtype=torch.float64) / 80, raw / raw.std(),
                     "standard deviations")


class Digits(NamedTuple):
    """Handwritten digits read pixel by pixel: `x` (count, 64, 1) float32 between −1 and 1, row
    by row from the top left, and `y` (count,) int64, which digit it is."""

    x: Tensor
    y: Tensor


def digits() -> tuple[Digits, Digits]:
    """scikit-learn's 1,797 handwritten digits of 8 × 8 pixels: (1,437 to learn from, 360 held out).

    The held-out ones are the last 360 as the set is ordered, and not drawn at random: digits
    that stand near each other are alike, so a random draw would be easier.
    """
    from sklearn.datasets import load_digits

    raw = load_digits()
    x = torch.from_numpy(raw.data).float()[..., None] / 8 - 1
    y = torch.from_numpy(raw.target).long()
    return Digits(x[:1437], y[:1437]), Digits(x[1437:], y[1437:])


def code() -> tuple[Tensor, Tensor]:
    """The source of Python's own standard library as bytes: (to learn from, held out), uint8.

    Its top-level modules, some 4 MB; each file whole on one side, one in eight held out, chosen by
    the check sum of its name, so that another version of Python holds out the same ones. A byte 0
    stands before each file.
    """
    files = sorted(Path(sysconfig.get_paths()["stdlib"]).glob("*.py"))
    sides: tuple[list[bytes], list[bytes]] = [], []
    for file in files:
        sides[zlib.crc32(file.name.encode()) % 8 == 0].append(b"\0" + file.read_bytes())
    learn, hold = (torch.from_numpy(np.frombuffer(b"".join(side), np.uint8).copy())
                   for side in sides)
    return learn, hold


def _sample(name: str, dtype: type) -> Tensor:
    # Imported here, so that the library needs no matplotlib until a recording is asked for.
    from matplotlib import cbook

    with cbook.get_sample_data(name) as file:
        return torch.from_numpy(np.frombuffer(file.read(), dtype).astype(np.float64))
