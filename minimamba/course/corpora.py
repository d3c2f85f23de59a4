"""Real data that is already on the reader's machine: nothing is downloaded.

Recordings come with matplotlib, digits with scikit-learn, code with Python itself; `folder` and
`dna` read files of your own.
"""

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

from minimamba.arguments import as_path, refuse


class Recording(NamedTuple):
    """A signal at evenly spaced times."""

    t: Tensor
    """(length,), float64: the times, in seconds."""
    x: Tensor
    """(length,), float64: the values, in `unit`."""
    unit: str
    """The unit of the values, such as "mV"."""


def neuron() -> Recording:
    """Load a neuron's membrane potential while a current makes it fire.

    The file is `membrane.dat` of matplotlib's sample data; matplotlib's own logo example gives its
    sample interval, 0.5 ms, and its scale, 100 mV per unit.

    Returns:
        A recording of 6 s at 2 kHz, in mV.
    """
    raw = _sample("membrane.dat", np.float32)
    return Recording(torch.arange(len(raw), dtype=torch.float64) / 2000, 100 * raw, "mV")


def eeg(channel: int = 0) -> Recording:
    """Load one channel of a human electroencephalogram.

    The file is `eeg.dat` of matplotlib's sample data; matplotlib's own example gives its duration.
    Its amplitude has no published unit, so it is divided by its standard deviation.

    Args:
        channel: which of the four channels, 0 to 3.

    Returns:
        A recording of 10 s at 80 Hz, in standard deviations.

    Raises:
        ValueError: if there is no such channel.
    """
    if not isinstance(channel, int) or isinstance(channel, bool) or channel not in range(4):
        refuse("channel", "0, 1, 2 or 3", repr(channel))
    raw = _sample("eeg.dat", np.float64).reshape(800, 4)[:, channel]
    return Recording(torch.arange(len(raw), dtype=torch.float64) / 80, raw / raw.std(),
                     "standard deviations")


class Digits(NamedTuple):
    """Handwritten digits as sequences of pixels."""

    x: Tensor
    """(count, 64, 1), float32 from −1 to 1: the pixels, row by row from the top left."""
    y: Tensor
    """(count,), int64: which digit it is."""


def digits() -> tuple[Digits, Digits]:
    """Load scikit-learn's 1,797 handwritten digits of 8 × 8 pixels.

    The last 360, in the order of the data set, are held out. A random split would be easier, since
    digits that are near each other in the set look alike.

    Returns:
        1,437 digits to train on, and 360 to test on.
    """
    from sklearn.datasets import load_digits

    raw = load_digits()
    x = torch.from_numpy(raw.data).float()[..., None] / 8 - 1
    y = torch.from_numpy(raw.target).long()
    return Digits(x[:1437], y[:1437]), Digits(x[1437:], y[1437:])


@dataclass(frozen=True)
class Corpus:
    """A text as bytes, split into a training part and a held-out part.

    It unpacks into the two (`train, val = corpora.code()`) and prints as a description, so that a
    result can say which data it was measured on.
    """

    name: str
    """What it is, with its version."""
    train: Tensor
    """(bytes,), uint8: the training part."""
    val: Tensor
    """(bytes,), uint8: the held-out part, for validation."""
    licence: str
    """The terms of use."""

    def __iter__(self) -> Iterator[Tensor]:
        return iter((self.train, self.val))

    @property
    def sha256(self) -> str:
        """The checksum of the training bytes followed by the held-out ones, in hexadecimal."""
        digest = hashlib.sha256(self.train.numpy().tobytes())
        digest.update(self.val.numpy().tobytes())
        return digest.hexdigest()

    def __str__(self) -> str:
        return (f"{self.name}: {len(self.train):,} training bytes, {len(self.val):,} held "
                f"out; sha256 {self.sha256[:16]}; licence: {self.licence}")


def code() -> Corpus:
    """Load the source of Python's standard library: its top-level modules, about 4 MB.

    One file in eight is held out. The checksum of its name decides, so that another version of
    Python holds out the same files; similar files stay on the same side. A zero byte precedes each
    file.

    Returns:
        A corpus with both parts.
    """
    files = sorted(Path(sysconfig.get_paths()["stdlib"]).glob("*.py"))
    return Corpus(f"standard library of Python {platform.python_version()}",
                  *_split({file.name: file.read_bytes() for file in files}, zlib.crc32),
                  "Python Software Foundation License, docs.python.org/3/license.html")


def folder(path: str | Path) -> Corpus:
    """Load every UTF-8 file below a folder; hidden files and folders are skipped.

    One file in eight is held out, as in `code`, and a zero byte precedes each.

    Args:
        path: the folder.

    Returns:
        A corpus with both parts.

    Raises:
        ValueError: if there is no such folder, or if one of the parts would be empty.
    """
    root = as_path("path", path)
    if not root.is_dir():
        refuse("path", "a folder", repr(str(path)))
    files = {}
    for file in sorted(root.rglob("*")):
        inside = file.relative_to(root)
        if file.is_file() and not any(part.startswith(".") for part in inside.parts):
            raw = file.read_bytes()
            if raw and _is_text(raw):
                files[inside.as_posix()] = raw
    # Not a CRC as in `code`: those of 001.txt, 002.txt, … hardly differ in their last bits.
    train, val = _split(files, lambda name: hashlib.sha256(name).digest()[0])
    if not len(train) or not len(val):
        refuse("path", "a folder from which one file in eight can be held out",
               f"{len(files)} text files, of which {'none' if len(train) else 'all'} would be")
    return Corpus(f"text in {root.resolve().name}", train, val, "yours to know")


def dna(path: str | Path) -> Corpus:
    """Load the sequences of a FASTA file, plain or gzipped, in capital letters.

    The last eighth of each sequence is held out. Repeats all over a genome make both parts similar
    in any case, so neighbouring stretches are not kept apart. A zero byte precedes each part of a
    sequence.

    Args:
        path: the file.

    Returns:
        A corpus with both parts.

    Raises:
        ValueError: if it isn't a FASTA file, in which a line that begins with ">" precedes each
            sequence.
    """
    file = as_path("path", path)
    raw = file.read_bytes()
    try:
        text = (gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw).upper()
    except (EOFError, OSError, zlib.error) as error:
        refuse("path", "a FASTA file, plain or gzipped", f"{file}, gzipped and damaged: {error}")
    if not text.startswith(b">"):
        refuse("path", "a FASTA file, which begins with '>'", repr(text[:20]))
    train, val = [], []
    for record in text[1:].split(b"\n>"):
        sequence = b"".join(record.splitlines()[1:])
        if not sequence.isalpha():
            refuse("path", "letters after each line with '>'", repr(sequence[:20]))
        cut = len(sequence) * 7 // 8
        train.append(b"\0" + sequence[:cut])
        val.append(b"\0" + sequence[cut:])
    return Corpus(f"DNA of {file.name}", _as_bytes(train), _as_bytes(val),
                  "that of the file's source")


SIMILAR = 1 / 3
"""Two files are similar if they share more than this fraction of the lines of the shorter one."""
LINE = 12
"""Characters that a line must have to count."""
SHORT = 20
"""Lines that a file must have to be compared."""
COMMON = 8
"""A line in this many files or more doesn't count: licences and imports are everywhere."""


def _split(files: dict[str, bytes],
           checksum: Callable[[bytes], int]) -> tuple[Tensor, Tensor]:
    """Hold one file in eight out, by the checksum of the name of the first file similar to it."""
    representatives = _representatives(files)
    train, val = [], []
    for name, raw in files.items():
        held_out = checksum(representatives[name].encode()) % 8 == 0
        (val if held_out else train).append(b"\0" + raw)
    return _as_bytes(train), _as_bytes(val)


def _representatives(files: dict[str, bytes]) -> dict[str, str]:
    """The first file, by name, of the group of similar files that each one belongs to."""
    lines = {name: {line.strip() for line in raw.splitlines() if len(line.strip()) >= LINE}
             for name, raw in files.items()}
    lines = {name: held for name, held in lines.items() if len(held) >= SHORT}
    holders = defaultdict(list)
    for name, held in lines.items():
        for line in held:
            holders[line].append(name)
    shared = Counter(pair for names in holders.values() if len(names) < COMMON
                     for pair in combinations(names, 2))
    first = {name: name for name in files}
    for (one, other), count in shared.items():
        if count > SIMILAR * min(len(lines[one]), len(lines[other])):
            kept, merged = sorted((first[one], first[other]))
            first = {name: kept if leader == merged else leader for name, leader in first.items()}
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
