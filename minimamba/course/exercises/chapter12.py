"""Chapter 12: state space duality. Its kernel is an exercise only where Triton is installed."""

import importlib.util

import torch

from minimamba.course.exercises import Exercise


def mask(log_decay):
    """Compute the mask, each entry from its own terms; of several heads, (t, s, heads)."""
    rows = log_decay.new_zeros(len(log_decay), *log_decay.shape)
    for t in range(len(log_decay)):
        rows[t, :t] = log_decay[t].exp() * rows[t - 1, :t]
        rows[t, t] = 1
    return rows


def added(x, log_decay, B):
    """Compute what a chunk adds to the state by its end."""
    return (mask(log_decay)[-1, :, None] * x).T @ B


def entering(added, total, h, *, decayed=False):
    """Hand the states from chunk to chunk, and return those that enter, or those decayed."""
    states = []
    for added_c, total_c in zip(added, total, strict=True):
        states.append(total_c * h if decayed else h)
        h = total_c * h + added_c
    return torch.stack(states)


def _and_leaving(added, total, h):
    """The states that enter, and the one that leaves the last chunk."""
    return entering(torch.cat([added, added[:1]]), torch.cat([total, total[:1]]), h)


def heads(x, log_decay, B, C, size, *, keep=True, read_decay=True, causal=True, within=True,
          to_end=lambda masks, cum: masks[-1], within_decay=lambda masks: masks,
          handed_on=lambda decay: decay, transposed=False, scores_transposed=False, after=False,
          own_decay=True):
    """Compute y in chunks for several heads, with mistakes if asked for."""
    h, y = x.new_zeros(*x.shape[1:], B.shape[1]), []
    for x_c, a_c, B_c, C_c in zip(*(part.split(size) for part in (x, log_decay, B, C)),
                                  strict=True):
        cum = a_c.cumsum(0)
        masks = mask(a_c) if causal else (cum[:, None] - cum).exp()     # (t, s, heads)
        scores = B_c @ C_c.T if scores_transposed else C_c @ B_c.T
        from_start = cum.exp() if own_decay else (cum - a_c).exp()      # (t, heads)
        added_c = torch.einsum("sh,shp,sn->hpn", to_end(masks, cum), x_c, B_c)
        next_h = keep * (handed_on(cum[-1].exp())[:, None, None] * h + added_c)
        entered = next_h if after else h
        read = torch.einsum("tn,hpn->thp", C_c, entered.mT if transposed else entered)
        y.append(within * torch.einsum("tsh,shp->thp", within_decay(masks) * scores[..., None], x_c)
                 + (from_start[..., None] * read if read_decay else read))
        h = next_h
    return torch.cat(y)


MISTAKES = {
    "not decayed to the end": {"to_end": lambda masks, cum: torch.ones_like(cum)},
    "decayed from the start": {"to_end": lambda masks, cum: cum.exp()},
    "not decayed within": {"within_decay": lambda masks: (masks > 0).to(masks.dtype)},
    "growing within": {"within_decay": lambda masks: torch.where(masks > 0, 1 / masks, 0)},
    "without the diagonal": {"within_decay": lambda masks: masks * (masks < 1)},
    "old state not decayed": {"handed_on": torch.ones_like},
    "old state lost": {"handed_on": torch.zeros_like},
}
"""Mistakes that both the function and the kernel can make, as options of `heads`."""


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
            lambda log_decay: mask(log_decay).log(),
         "On the diagonal is 1: an input isn't decayed in its own step, but it counts.":
            lambda log_decay: mask(log_decay).tril(-1),
         "Above the diagonal is 0: no input is there before it was written.":
            lambda log_decay: (log_decay.cumsum(0)[:, None] - log_decay.cumsum(0)).exp(),
         "That is the decay of step t alone: multiply those of all steps after s up to t.":
            lambda log_decay: (mask(log_decay)
                               + (log_decay.exp()[:, None] - mask(log_decay)).tril(-1)),
         "The decays run from s to t − 1. What is written in step s decays in s + 1 to t.":
            lambda log_decay: mask(torch.cat([log_decay[:1], log_decay[:-1]])),
         "The entries grow with the distance: is there a minus too many?":
            lambda log_decay: mask(-log_decay),
         "The decays are the exponentials of log_decay: their logarithms are multiplied here.":
            lambda log_decay: mask(log_decay.to(torch.complex128).log()).real}),
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
            lambda x, log_decay, B: added(x, log_decay, B).T,
         "That is the decay over the whole chunk. A step decays only in those after it.":
            lambda x, log_decay, B: log_decay.sum().exp() * x.T @ B,
         "That is a difference of two cumulative sums: −∞ − (−∞) is NaN. Sum from the end.":
            lambda x, log_decay, B: (
                (log_decay.sum() - log_decay.cumsum(0)).exp()[:, None] * x).T @ B,
         "That is what the last step adds: sum over all of them.":
            lambda x, log_decay, B: torch.outer(x[-1], B[-1]),
         "The decay comes in twice, with x and with B: once is enough.":
            lambda x, log_decay, B: added(mask(log_decay)[-1, :, None] * x, log_decay, B),
         "That is what each step adds, one by one: sum over the steps.":
            lambda x, log_decay, B: (mask(log_decay)[-1, :, None] * x)[:, :, None] * B[:, None]}),
    "12.4": Exercise(
        entering,
        ({"added": STATES, "total": TOTAL, "h": STATES[0] + 1},
         {"added": STATES[:1], "total": TOTAL[:1], "h": STATES[1]}),
        {"Those are the states after each chunk. The one that enters the first is h.":
            lambda added, total, h: _and_leaving(added, total, h)[1:],
         "The state decays over a chunk before what the chunk adds comes on top.":
            lambda added, total, h: entering(added, torch.ones_like(total), h),
         "What a chunk adds is already decayed to its end: only the old state is multiplied.":
            lambda added, total, h: entering(total[:, None, None] * added, total, h),
         "The state before the first chunk is h, not zero.":
            lambda added, total, h: entering(added, total, torch.zeros_like(h)),
         "The state only decays: what the chunks add is missing.":
            lambda added, total, h: entering(0 * added, total, h),
         "The state is lost from chunk to chunk: what a chunk adds comes on top of it.":
            lambda added, total, h: entering(added, 0 * total, h),
         "Each state has decayed in its chunk already: append it before that.":
            lambda added, total, h: entering(added, total, h, decayed=True),
         "Over chunk c the state decays by total[c], not by the next chunk's.":
            lambda added, total, h: entering(added, total.roll(-1), h),
         "total is a decay already, not its logarithm.":
            lambda added, total, h: entering(added, total.exp(), h),
         "One state too many: what leaves the last chunk enters none.": _and_leaving,
         "That is one state. Keep those that enter all the chunks.":
            lambda added, total, h: entering(added, total, h)[-1]}),
    "12.5": Exercise(
        heads,
        ({**HEADS, "size": 4}, {**HEADS, "size": 11}, {**HEADS, "size": 1}),
        {"Each chunk starts from zero: hand the state on.":
            lambda **case: heads(**case, keep=False),
         "What the entering state adds decays from the start of the chunk up to each step.":
            lambda **case: heads(**case, read_decay=False),
         "What a chunk adds to the state decays to the chunk's end.":
            lambda **case: heads(**case, **MISTAKES["not decayed to the end"]),
         "What a step adds decays from it to the chunk's end, not from the start to it.":
            lambda **case: heads(**case, **MISTAKES["decayed from the start"]),
         "Over a chunk the old state decays too, by exp(cum[-1]).":
            lambda **case: heads(**case, **MISTAKES["old state not decayed"]),
         "What a chunk adds replaces the state that entered, which must go on, decayed.":
            lambda **case: heads(**case, **MISTAKES["old state lost"]),
         "The steps of a chunk must see each other too: only the state that enters is read.":
            lambda **case: heads(**case, within=False),
         "Within a chunk the inputs decay as well, from their step to the output's.":
            lambda **case: heads(**case, **MISTAKES["not decayed within"]),
         "Within a chunk the inputs grow: the exponent is cum[t] − cum[s].":
            lambda **case: heads(**case, **MISTAKES["growing within"]),
         "A step must see its own input too: the mask has its diagonal.":
            lambda **case: heads(**case, **MISTAKES["without the diagonal"]),
         "The scores are (t, s), outputs before inputs: C_c times B_c transposed.":
            lambda **case: heads(**case, scores_transposed=True),
         "Later steps of the chunk count too: above the diagonal the mask is 0.":
            lambda **case: heads(**case, causal=False),
         "That reads the state after the chunk, which has the chunk's inputs in it already.":
            lambda **case: heads(**case, after=True),
         "The state that enters decays in step t itself too: exp(cum[t]).":
            lambda **case: heads(**case, own_decay=False),
         "B and C are swapped: B writes to the state, C reads it.":
            lambda B, C, **case: heads(B=C, C=B, **case),
         "All heads decay like the first: each has its column of log_decay.":
            lambda log_decay, **case: heads(
                log_decay=log_decay[:, :1].expand_as(log_decay), **case),
         "The last chunk is missing: it may be shorter than the others.":
            lambda size, **case: heads(size=size, **case)[:11 // size * size]}),
}


def kernel_outputs(x, log_decay, B, C, **mistakes):
    """Compute what the kernel of the workshop writes, for several sequences, in chunks of 16."""
    return {"y": torch.stack([heads(*sequence, 16, **mistakes)
                              for sequence in zip(x, log_decay, B, C, strict=True)])}


def swapped(x, log_decay, B, C):
    """Write with C, and read with B."""
    return kernel_outputs(x, log_decay, C, B)


def kernel_inputs(batch, length, n_heads):
    """Make the tensors of a case, with head_dim and d_state 16."""
    x = _random(batch, length, n_heads, 16)
    log_decay = -_random(batch, length, n_heads).abs() / 8       # what is older than a chunk shows
    B, C = _random(batch, length, 16), _random(batch, length, 17)[..., :16]
    return tuple(part.float() for part in (x, log_decay, B, C.contiguous()))


def launch(kernel, x, log_decay, B, C, y):
    """Launch the kernel of the workshop."""
    batch, length, n_heads, head_dim = x.shape
    kernel[batch, n_heads](x, log_decay, B, C, y, length, n_heads, Q=16, P=head_dim, N=B.shape[2])


def _with(**mistakes):
    return lambda *tensors: kernel_outputs(*tensors, **mistakes)


if importlib.util.find_spec("triton") is not None:
    from minimamba.course.exercises.kernels import first_only, kernel_exercise

    EXERCISES["12.1"] = kernel_exercise(
        kernel_outputs, launch, kernel_inputs, {"y": ("sequence", "step", "head", "channel")},
        ({"batch": 2, "length": 20, "n_heads": 2}, {"batch": 1, "length": 48, "n_heads": 1}),
        {"Only the steps within a chunk count: add what the state contributes, C h, and update h.":
            _with(keep=False),
         "What the state adds to the outputs decays from the chunk's start: exp(cum).":
            _with(read_decay=False),
         "What a chunk adds to the state decays to the chunk's end: exp(total − cum).":
            _with(**MISTAKES["not decayed to the end"]),
         "What a step adds decays from it to the chunk's end, exp(total − cum), not from the "
         "start to it.": _with(**MISTAKES["decayed from the start"]),
         "Later steps of the chunk count too: the exponent is −∞ above the diagonal.":
            _with(causal=False),
         "Only sequence 0 is right: step t of a sequence is row batch * length + t.":
            first_only(kernel_outputs, 1, axis=0),
         "Only the first chunk is right: each has its place, which begins at `start`.":
            first_only(kernel_outputs, 16, axis=1),
         "Only head 0 is right: keep `place` and the other lines that are given.":
            first_only(kernel_outputs, 1, axis=2),
         "The steps of the chunk must see each other too: add the scores times x_c.":
            _with(within=False),
         "Within the chunk the inputs decay as well: the scores have exp(cum[t] − cum[s]).":
            _with(**MISTAKES["not decayed within"]),
         "Within the chunk the inputs grow: the exponent is cum[t] − cum[s].":
            _with(**MISTAKES["growing within"]),
         "A step must see its own input too: the mask has its diagonal, i[:, None] >= i[None, :].":
            _with(**MISTAKES["without the diagonal"]),
         "The scores are (t, s), outputs before inputs: C_c times B_c transposed.":
            _with(scores_transposed=True),
         "Over the chunk the old state decays too: exp(total).":
            _with(**MISTAKES["old state not decayed"]),
         "What the chunk adds replaces the state that entered, which must go on, decayed.":
            _with(**MISTAKES["old state lost"]),
         "h is (N, P) here, transposed: it is read by matmul(C_c, h), without tl.trans.":
            _with(transposed=True),
         "That reads the state after the chunk: compute y_c before the next h.":
            _with(after=True),
         "B and C are swapped, in the scores and in what is added to h.":
            swapped})
