"""Real data that is already on the reader's machine: nothing is downloaded."""

import gzip
import hashlib
import platform
import sysconfig
import zlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from minimamba.arguments import refuse


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


@dataclass(frozen=True)
class Corpus:
    """Bytes to learn from and bytes held out: `train, val = corpora.code()`. Printed, it says
    what it is, so that a result can say what it was measured on."""

    name: str
    train: Tensor
    """(bytes,), uint8."""
    val: Tensor
    """(bytes,), uint8."""
    licence: str

    def __iter__(self) -> Iterator[Tensor]:
        return iter((self.train, self.val))

    @property
    def sha256(self) -> str:
        """Of all bytes to learn from and then all held out."""
        digest = hashlib.sha256(self.train.numpy().tobytes())
        digest.update(self.val.numpy().tobytes())
        return digest.hexdigest()

    def __str__(self) -> str:
        return (f"{self.name}: {len(self.train):,} bytes to learn from, {len(self.val):,} held "
                f"out; sha256 {self.sha256[:16]}; licence: {self.licence}")


def code() -> Corpus:
    """The source of Python's own standard library as bytes.

    Its top-level modules, some 4 MB; each file whole on one side, one in eight held out, chosen by
    the check sum of its name, so that another version of Python holds out the same ones; files
    that are much alike go together. A byte 0 stands before each file.
    """
    files = sorted(Path(sysconfig.get_paths()["stdlib"]).glob("*.py"))
    return Corpus(f"standard library of Python {platform.python_version()}",
                  *_split({file.name: file.read_bytes() for file in files}, zlib.crc32),
                  "Python Software Foundation License, docs.python.org/3/license.html")


def folder(path: str | Path) -> Corpus:
    """Your own text: every file below a folder that is UTF-8, split as `code` is, but by a
    stronger sum: CRCs of names such as 001.txt, 002.txt, … hardly differ in their last bits.

    Hidden files and folders are passed over.

    Raises:
        ValueError: where there is too little to hold a part out.
    """
    root = Path(path)
    if not root.is_dir():
        refuse("path", "a folder", repr(str(path)))
    files = {}
    for file in sorted(root.rglob("*")):
        inside = file.relative_to(root)
        if file.is_file() and not any(part.startswith(".") for part in inside.parts):
            raw = file.read_bytes()
            if raw and _is_text(raw):
                files[inside.as_posix()] = raw
    learn, hold = _split(files, lambda name: hashlib.sha256(name).digest()[0])
    if not len(learn) or not len(hold):
        refuse("path", "a folder with files to hold out: one in eight is, those alike together",
               f"{len(files)} of text, of which {'none' if len(learn) else 'all'} would be")
    return Corpus(f"text in {root.resolve().name}", learn, hold, "yours to know")


def dna(path: str | Path) -> Corpus:
    """The sequences of a FASTA file, plain or gzipped, in capital letters; a byte 0 before each.

    The last eighth of each sequence is held out: neighbours resemble each other less than
    repeats do, which stand everywhere and can't be kept apart.

    Raises:
        ValueError: where it is no FASTA file: a line that begins with ">" before each sequence.
    """
    raw = Path(path).read_bytes()
    text = (gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw).upper()
    if not text.startswith(b">"):
        refuse("path", "a FASTA file, which begins with '>'", repr(text[:20]))
    sides: tuple[list[bytes], list[bytes]] = [], []
    for record in text[1:].split(b"\n>"):
        sequence = b"".join(record.splitlines()[1:])
        if not sequence.isalpha():
            refuse("path", "letters after each line with '>'", repr(sequence[:20]))
        cut = len(sequence) * 7 // 8
        sides[0].append(b"\0" + sequence[:cut])
        sides[1].append(b"\0" + sequence[cut:])
    return Corpus(f"DNA of {Path(path).name}", *map(_as_bytes, sides),
                  "that of the file's source")


ALIKE, LINE, SHORT = 1 / 3, 12, 20
"""Two files are alike if more than a third of the lines of the one with fewer stand in the other;
lines of 12 characters or more, in files that have 20 or more such, and not in eight files or more,
as licences and imports do."""


def _split(files: dict[str, bytes],
           check_sum: Callable[[bytes], int]) -> tuple[Tensor, Tensor]:
    """One file in eight held out, by the check sum of its name; files that are alike go where
    the first of them goes."""
    first = _first_alike(files)
    sides: tuple[list[bytes], list[bytes]] = [], []
    for name, raw in files.items():
        sides[check_sum(first[name].encode()) % 8 == 0].append(b"\0" + raw)
    return _as_bytes(sides[0]), _as_bytes(sides[1])


def _first_alike(files: dict[str, bytes]) -> dict[str, str]:
    """For each file the first one that it is like, over any number of others."""
    lines = {name: {line.strip() for line in raw.splitlines() if len(line.strip()) >= LINE}
             for name, raw in files.items()}
    lines = {name: held for name, held in lines.items() if len(held) >= SHORT}
    holders = defaultdict(list)
    for name, held in lines.items():
        for line in held:
            holders[line].append(name)
    shared = Counter(pair for names in holders.values() if len(names) < 8
                     for pair in combinations(names, 2))
    first = {name: name for name in files}
    for (one, other), count in shared.items():
        if count > ALIKE * min(len(lines[one]), len(lines[other])):
            old, new = sorted((first[one], first[other]), reverse=True)
            first = {name: new if leader == old else leader for name, leader in first.items()}
    return first


def _as_bytes(parts: list[bytes]) -> Tensor:
    return torch.from_numpy(np.frombuffer(b"".join(parts), np.uint8).copy())


def _is_text(raw: bytes) -> bool:
    try:
        raw.decode()
    except UnicodeDecodeError:
        return False
    return b"\0" not in raw


def _sample(name: str, dtype: type) -> Tensor:
    # Imported here, so that the library needs no matplotlib until a recording is asked for.
    from matplotlib import cbook

    with cbook.get_sample_data(name) as file:
        return torch.from_numpy(np.frombuffer(file.read(), dtype).astype(np.float64))
