"""The official package's call of Mamba-2's scan: its limits, its sequences, its errors."""

from inspect import unwrap

import pytest
import torch
from systems import close, leaves, randn, uniform

from minimamba import ssd
from minimamba.compat import mamba_chunk_scan_combined
from minimamba.ssd import compat

BATCH, LENGTH, HEADS, HEAD_DIM, GROUPS, D_STATE = 2, 21, 4, 3, 2, 5
ENDS = [0, 4, 5, 16, 21]
CU_SEQLENS = torch.tensor(ENDS, dtype=torch.int32)
SEQ_IDX = torch.tensor([[0] * 4 + [1] + [2] * 11 + [3] * 5], dtype=torch.int32)


def inputs(batch=BATCH):
    state = (batch, LENGTH, GROUPS, D_STATE)
    return {"x": randn(batch, LENGTH, HEADS, HEAD_DIM), "dt": randn(batch, LENGTH, HEADS, seed=1),
            "A": -uniform(0.1, 2, HEADS, seed=2), "B": randn(*state, seed=3),
            "C": randn(*state, seed=4), "D": randn(HEADS, seed=5),
            "z": randn(batch, LENGTH, HEADS, HEAD_DIM, seed=6), "dt_bias": randn(HEADS, seed=7)}


def official(arguments, **options):
    return mamba_chunk_scan_combined(**arguments, chunk_size=8, **options)


def test_call_is_that_of_ssd_by_other_names():
    arguments, state = inputs(), randn(BATCH, HEADS, HEAD_DIM, D_STATE, seed=8)
    y, h = official(arguments, initial_states=state, dt_softplus=True, return_final_states=True)
    wanted_y, wanted_h = ssd(**arguments, initial_state=state, dt_softplus=True,
                             return_final_state=True, method="reference")
    close(y, wanted_y)
    close(h, wanted_h)
    assert torch.equal(official(arguments, initial_states=state, dt_softplus=True), y)


def test_chunk_size_is_used(monkeypatch):
    used = []
    monkeypatch.setattr(
        compat, "ssd", lambda *_, chunk_size, **__: used.append(chunk_size) or (0, 0))
    official(inputs(), dt_softplus=True)
    assert used == [8]


@pytest.mark.parametrize("dt_softplus", [True, False])
@pytest.mark.parametrize("dt_limit", [(0.0, float("inf")), (0.3, 0.7), [0.3, float("inf")]])
def test_steps_beyond_the_limits_become_the_limits_and_have_no_gradient(dt_softplus, dt_limit):
    arguments = inputs()
    dt = arguments["dt"] + arguments["dt_bias"]
    steps = (torch.nn.functional.softplus(dt) if dt_softplus else dt).clamp(*dt_limit)
    tensors = dict(zip(arguments, leaves(*arguments.values()), strict=True))
    y = official(tensors, dt_softplus=dt_softplus, dt_limit=dt_limit)
    del arguments["dt_bias"]
    close(y, ssd(**arguments | {"dt": steps}, method="reference"))
    y.square().sum().backward()
    at_a_limit = (steps == dt_limit[0]) | (steps == dt_limit[1])
    assert torch.equal(tensors["dt"].grad == 0, at_a_limit)


def test_limits_match_transformers():
    mamba2 = pytest.importorskip("transformers.models.mamba2.modeling_mamba2")
    # Where the official package is installed, its kernels take the place of this.
    transformers_scan = unwrap(mamba2.mamba2_chunk_scan)
    arguments = {name: t.float() for name, t in inputs().items() if name != "z"}
    options = {"dt_softplus": True, "dt_limit": (0.3, 0.7)}
    torch.testing.assert_close(official(arguments, **options), transformers_scan(
        arguments["x"], **{name: t for name, t in arguments.items() if name != "x"},
        chunk_size=8, **options), rtol=1e-5, atol=1e-5)


def test_initial_state_with_packed_sequences_is_that_of_sequence_0():
    arguments = inputs()
    seq_idx = torch.cat([SEQ_IDX, SEQ_IDX + 1])
    state = randn(BATCH, HEADS, HEAD_DIM, D_STATE, seed=8)
    y = official(arguments, initial_states=state, seq_idx=seq_idx, dt_softplus=True)
    state[1] = 0
    close(y, ssd(**arguments, initial_state=state, seq_idx=seq_idx, dt_softplus=True,
                 method="reference"))


def test_states_of_all_packed_sequences_are_the_final_states_of_each():
    arguments = inputs(batch=1)
    options = {"seq_idx": SEQ_IDX, "dt_softplus": True, "return_final_states": True,
               "initial_states": randn(1, HEADS, HEAD_DIM, D_STATE, seed=8)}
    y, last = official(arguments, **options)
    given = official(arguments, **options, cu_seqlens=CU_SEQLENS, return_varlen_states=True)
    close(given[0], y)
    close(given[1], last)
    for state, start, end in zip(given[2], ENDS[:-1], ENDS[1:], strict=True):
        alone = {name: t[:, start:end] if t.ndim > 1 else t for name, t in arguments.items()}
        _, wanted = ssd(**alone, dt_softplus=True, return_final_state=True,
                        initial_state=None if start else options["initial_states"])
        close(state[None], wanted)


@pytest.mark.parametrize(("name", "bad", "message"), [
    ("dt_limit", 0.5, "two numbers, the smallest and the largest step, got 0.5"),
    ("dt_limit", (-1.0, 1.0), "a smallest step of at least 0, got -1.0"),
    ("dt_limit", (0.5, 0.1), "a largest step of at least 0.5, got 0.1"),
    ("chunk_size", 0, "a whole number from 1 up, got 0"),
    ("initial_states", randn(1, HEADS, D_STATE, HEAD_DIM), r"shape \(1, 4, 3, 5\) = \(batch"),
    ("cu_seqlens", None, "a torch.Tensor, got NoneType"),
    ("cu_seqlens", CU_SEQLENS[None], r"shape \(sequences \+ 1,\), got \(1, 5\)"),
    ("cu_seqlens", CU_SEQLENS[:-1], r"numbers that grow from 0 to the length, 21, got \[0, 4"),
    ("cu_seqlens", CU_SEQLENS[[0, 1, 1, 4]], "numbers that grow from 0"),
    ("seq_idx", None, "the sequences that cu_seqlens gives, got None"),
    ("seq_idx", 0 * SEQ_IDX, r"other sequences from \[4, 5, 16\] on, as cu_seqlens .+ got \[\]"),
])
def test_bad_argument_is_named(name, bad, message):
    arguments = inputs(batch=1) | {"chunk_size": 8, "dt_softplus": True, "seq_idx": SEQ_IDX,
                                   "cu_seqlens": CU_SEQLENS, "return_varlen_states": True}
    mamba_chunk_scan_combined(**arguments)
    with pytest.raises(ValueError, match=f"^{name}: expected {message}"):
        mamba_chunk_scan_combined(**arguments | {name: bad})


def test_states_of_all_packed_sequences_are_refused_for_a_batch_of_two():
    with pytest.raises(ValueError, match=r"^x: expected a batch of one .+, got 2$"):
        official(inputs(), seq_idx=SEQ_IDX.expand(2, -1), cu_seqlens=CU_SEQLENS, dt_softplus=True,
                 return_varlen_states=True)
