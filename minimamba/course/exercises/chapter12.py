"""Chapter 12: state space duality. Its kernel is an exercise only where Triton is installed."""

import importlib.util

import torch

from minimamba.course.exercises import Exercise


def mask(log_decay):
    """Compute the mask, each entry from its own terms."""
    rows = torch.eye(len(log_decay), dtype=log_decay.dtype)
    for t in range(1, len(log_decay)):
        rows[t, :t] = log_decay[t].exp() * rows[t - 1, :t]
    return rows


def added(x, log_decay, B):
    """Compute what a chunk adds to the state by its end."""
    return (mask(log_decay)[-1, :, None] * x).T @ B


def entering(added, total, h):
    """Hand the states from chunk to chunk, and return those that enter."""
    states = []
    for added_c, total_c in zip(added, total, strict=True):
        states.append(h)
        h = total_c * h + added_c
    return torch.stack(states)


def heads(x, log_decay, B, C, size, *, keep=True, read_decay=True, to_end=True,
          causal=True):
    """Compute y in chunks for several heads, with mistakes if asked for."""
    h, y = x.new_zeros(*x.shape[1:], B.shape[1]), []
    for x_c, a_c, B_c, C_c in zip(*(part.split(size) for part in (x, log_decay, B, C)),
                                  strict=True):
        cum = a_c.cumsum(0)
        masks = (torch.stack([mask(a) for a in a_c.T]) if causal        # (heads, t, s)
                 else (cum.T[:, :, None] - cum.T[:, None]).exp())
        from_start = cum.exp()                                          # (t, heads)
        read = torch.einsum("tn,hpn->thp", C_c, h)
        y.append(torch.einsum("hts,shp->thp", masks * (C_c @ B_c.T), x_c)
                 + (from_start[..., None] * read if read_decay else read))
        weights = masks[:, -1] if to_end else torch.ones_like(masks[:, -1])
        h = keep * (from_start[-1, :, None, None] * h
                    + torch.einsum("hs,shp,sn->hpn", weights, x_c, B_c))
    return torch.cat(y)


def _random(*shape):
    generator = torch.Generator().manual_seed(sum(shape))
    return torch.randn(shape, generator=generator, dtype=torch.float64)


LOG_DECAY = torch.tensor([-0.1, -0.7, -0.2, -1.5, -0.4], dtype=torch.float64)
ERASED = torch.tensor([-0.5, -0.25, -torch.inf, -0.5], dtype=torch.float64)
X, B, C = _random(5, 2), _random(5, 3), _random(5, 4)[:, :3]
STATES = _random(4, 2, 3)
TOTAL = torch.tensor([0.5, 0.25, 0.9, 0.1], dtype=torch.float64)
HEADS = {"x": _random(11, 2, 3), "log_decay": -_random(11, 2).abs(), "B": _random(11, 4),
         "C": _random(11, 5)[:, :4]}

EXERCISES = {
    "12.2": Exercise(
        mask,
        ({"log_decay": LOG_DECAY}, {"log_decay": ERASED}),
        {"Row t, column s: the rows are the later steps, and nothing stands above the diagonal.":
            lambda log_decay: mask(log_decay).T,
         "The decay of step s itself doesn't count: x_s is added after it. The diagonal is 1.":
            lambda log_decay: mask(log_decay) * log_decay.exp(),
         "That is the difference of two cumulative sums: −∞ − (−∞) is NaN.":
            lambda log_decay: (log_decay.cumsum(0)[:, None] - log_decay.cumsum(0)).exp().tril(),
         "Those are logarithms; the mask has the exponentials of the sums.":
            lambda log_decay: mask(log_decay).log()}),
    "12.3": Exercise(
        added,
        ({"x": X, "log_decay": LOG_DECAY, "B": B},
         {"x": X[:4], "log_decay": ERASED, "B": B[:4]}),
        {"Each step's part decays from after that step to the end of the chunk.":
            lambda x, log_decay, B: x.T @ B,
         "That is the decay from the start of the chunk to each step, not from it to the end.":
            lambda x, log_decay, B: (log_decay.cumsum(0).exp()[:, None] * x).T @ B,
         "A step's own decay doesn't apply to what it adds: only those after it.":
            lambda x, log_decay, B: added(x * log_decay.exp()[:, None], log_decay, B),
         "The state is (P, N): channels are rows, components columns.":
            lambda x, log_decay, B: added(x, log_decay, B).T}),
    "12.4": Exercise(
        entering,
        ({"added": STATES, "total": TOTAL, "h": STATES[0] + 1},
         {"added": STATES[:1], "total": TOTAL[:1], "h": STATES[1]}),
        {"Those are the states after each chunk. The one that enters the first is h.":
            lambda added, total, h: torch.cat(
                [entering(added, total, h)[1:],
                 (total[-1] * entering(added, total, h)[-1] + added[-1])[None]]),
         "The state decays over a chunk before what the chunk adds comes on top.":
            lambda added, total, h: entering(added, torch.ones_like(total), h),
         "What a chunk adds is already decayed to its end: only the old state is multiplied.":
            lambda added, total, h: entering(total[:, None, None] * added, total, h),
         "The state before the first chunk is h, not zero.":
            lambda added, total, h: entering(added, total, torch.zeros_like(h))}),
    "12.5": Exercise(
        heads,
        ({**HEADS, "size": 4}, {**HEADS, "size": 11}, {**HEADS, "size": 1}),
        {"Each chunk starts from zero: hand the state on.":
            lambda **case: heads(**case, keep=False),
         "What the entering state adds decays from the start of the chunk up to each step.":
            lambda **case: heads(**case, read_decay=False),
         "What a chunk adds to the state decays to the chunk's end.":
            lambda **case: heads(**case, to_end=False)}),
}


def kernel_outputs(x, log_decay, B, C, **mistakes):
    """Compute what the kernel of the workshop writes, for several sequences, in chunks of 16."""
    return {"y": torch.stack([heads(*sequence, 16, **mistakes)
                              for sequence in zip(x, log_decay, B, C, strict=True)])}


def first_sequence(*tensors):
    """Leave all sequences but the first unwritten."""
    y = kernel_outputs(*tensors)["y"]
    y[1:] = torch.nan
    return {"y": y}


def kernel_inputs(batch, length, n_heads):
    """Make the tensors of a case, with head_dim and d_state 16."""
    x, log_decay = _random(batch, length, n_heads, 16), -_random(batch, length, n_heads).abs()
    B, C = _random(batch, length, 16), _random(batch, length, 17)[..., :16]
    return tuple(part.float() for part in (x, log_decay, B, C.contiguous()))


def launch(kernel, x, log_decay, B, C, y):
    """Launch the kernel of the workshop."""
    batch, length, n_heads, head_dim = x.shape
    kernel[batch, n_heads](x, log_decay, B, C, y, length, n_heads, Q=16, P=head_dim, N=B.shape[2])


def _with(**mistakes):
    return lambda *tensors: kernel_outputs(*tensors, **mistakes)


if importlib.util.find_spec("triton") is not None:
    from minimamba.course.exercises.kernels import kernel_exercise

    EXERCISES["12.1"] = kernel_exercise(
        kernel_outputs, launch, kernel_inputs, {"y": ("sequence", "step", "head", "channel")},
        ({"batch": 2, "length": 20, "n_heads": 2}, {"batch": 1, "length": 32, "n_heads": 1}),
        {"Only the steps within a chunk count: add what the state contributes, C h, and update h.":
            _with(keep=False),
         "What the state adds to the outputs decays from the chunk's start: exp(cum).":
            _with(read_decay=False),
         "What a chunk adds to the state decays to the chunk's end: exp(total − cum).":
            _with(to_end=False),
         "Later steps of the chunk count too: the exponent is −∞ above the diagonal.":
            _with(causal=False),
         "Only sequence 0 is right: step t of a sequence is row batch * length + t.":
            first_sequence})
