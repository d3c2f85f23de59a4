"""The recordings, digits and texts against their descriptions."""

import gzip

import pytest
import torch
from sklearn.datasets import load_digits

from minimamba.course import corpora


def test_the_neuron_rests_then_fires_about_fifty_times():
    t, x, unit = corpora.neuron()
    assert (len(t), unit) == (12000, "mV")
    assert x.dtype == t.dtype == torch.float64
    assert t[-1].item() == pytest.approx(6 - 1 / 2000)
    assert -70 < x[:900].min() < x[:900].max() < -60
    spikes = ((x[1:] > -20) & (x[:-1] <= -20)).sum().item()
    assert 40 < spikes < 60


@pytest.mark.parametrize("channel", range(4))
def test_the_eeg_is_ten_seconds_of_unit_variance(channel):
    t, x, _ = corpora.eeg(channel)
    assert len(t) == 800
    assert t[-1].item() == pytest.approx(10 - 1 / 80)
    assert x.std().item() == pytest.approx(1.0)


@pytest.mark.parametrize("channel", [4, -1, "0", True, 1.0])
def test_a_fifth_eeg_channel_is_refused(channel):
    with pytest.raises(ValueError, match="channel: expected 0, 1, 2 or 3"):
        corpora.eeg(channel)


def test_the_digits_are_sequences_of_pixels_row_by_row():
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


def test_the_digits_are_split_in_the_order_of_the_data_set():
    raw = load_digits()
    learned, held_out = corpora.digits()
    x, y = (torch.cat(part) for part in zip(learned, held_out, strict=True))
    assert torch.equal(8 * x[..., 0] + 8, torch.from_numpy(raw.data).float())
    assert torch.equal(y, torch.from_numpy(raw.target))


def test_the_standard_library_is_split_by_whole_files():
    import argparse
    import inspect

    train, val = (bytes(part.numpy()) for part in corpora.code())
    assert len(train) > 3_000_000
    assert 0.08 < len(val) / len(train) < 0.25
    files = [*train.split(b"\0")[1:], *val.split(b"\0")[1:]]
    assert len(files) == len(set(files) - {b""}) + files.count(b"") > 150
    source = inspect.getsource(argparse).encode()
    assert (source in train) != (source in val)


def sides(corpus):
    return [bytes(part.numpy()).split(b"\0")[1:] for part in corpus]


def prose(seed, lines=40):
    random = torch.Generator().manual_seed(seed)
    return "".join(f"line number {n} of a long text\n" for n in
                   torch.randint(10**9, (lines,), generator=random).tolist())


def test_a_corpus_prints_its_sizes_checksum_and_licence():
    corpus = corpora.code()
    for part in (f"{len(corpus.train):,} training bytes", f"{len(corpus.val):,} held out",
                 "Python 3", "License", corpus.sha256[:16]):
        assert part in str(corpus)
    assert corpus.sha256 == corpora.code().sha256
    changed = corpora.Corpus("", corpus.train, corpus.val[1:], "")
    assert changed.sha256 != corpus.sha256


def test_a_folder_is_split_by_whole_files(tmp_path):
    (tmp_path / "in").mkdir()
    for i in range(40):
        (tmp_path / ("in" * (i % 2)) / f"{i}.txt").write_text(prose(i), encoding="utf-8")
    (tmp_path / "picture.png").write_bytes(b"\x89PNG\xff\xff")
    (tmp_path / ".hidden").write_text("hidden")
    train, val = sides(corpora.folder(tmp_path))
    assert sorted(train + val) == sorted(prose(i).encode() for i in range(40))
    assert 2 <= len(val) <= 9
    assert str(corpora.folder(tmp_path)) == str(corpora.folder(tmp_path))


def test_similar_files_stay_on_one_side(tmp_path):
    # Thirty files, each with a copy that differs in some lines.
    for i in range(30):
        text = prose(i)
        (tmp_path / f"a{i:02}.txt").write_text(text)
        (tmp_path / f"b{i:02}.txt").write_text(text[:len(text) // 2] + prose(100 + i, 20))
    for side in sides(corpora.folder(tmp_path)):
        starts = [text[:60] for text in side]
        assert all(starts.count(start) == 2 for start in starts)
    # With a few lines in common they do not.
    for i in range(30):
        (tmp_path / f"b{i:02}.txt").write_text(prose(i)[:200] + prose(100 + i))
    starts = [text[:60] for text in sides(corpora.folder(tmp_path))[0]]
    assert {starts.count(start) for start in starts} == {1, 2}


def test_dna_holds_out_the_end_of_each_sequence(tmp_path):
    import gzip

    text = b">one some words\nacgtacgt\nACGTNACG\n>two\nTTTTGGGG\n"
    (tmp_path / "a.fa").write_bytes(text)
    (tmp_path / "a.fa.gz").write_bytes(gzip.compress(text))
    for name in ("a.fa", "a.fa.gz"):
        corpus = corpora.dna(tmp_path / name)
        assert sides(corpus) == [[b"ACGTACGTACGTNA", b"TTTTGGG"], [b"CG", b"G"]]
        assert name in str(corpus)


@pytest.mark.parametrize("path", [None, 3, b"x", ""], ids=repr)
def test_what_is_no_path_is_refused(path):
    for load in (corpora.folder, corpora.dna):
        with pytest.raises(ValueError, match=r"^path: expected a (string|path)"):
            load(path)


def test_a_path_without_a_corpus_is_refused(tmp_path):
    (tmp_path / "cut.fa.gz").write_bytes(gzip.compress(b">name\nACGT\n")[:-9])
    with pytest.raises(ValueError, match=r"^path: expected a FASTA .+cut.fa.gz, gzipped and damag"):
        corpora.dna(tmp_path / "cut.fa.gz")
    (tmp_path / "one.txt").write_text("alone")
    with pytest.raises(ValueError, match=r"^path: expected a folder from which one file .+1 text"):
        corpora.folder(tmp_path)
    with pytest.raises(ValueError, match=r"^path: expected a folder, got .+one.txt'$"):
        corpora.folder(tmp_path / "one.txt")
    with pytest.raises(ValueError, match=r"^path: expected a FASTA file"):
        corpora.dna(tmp_path / "one.txt")
    (tmp_path / "bad.fa").write_text(">name\n12 34\n")
    with pytest.raises(ValueError, match=r"^path: expected letters after each line"):
        corpora.dna(tmp_path / "bad.fa")
