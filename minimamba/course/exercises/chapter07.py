"""Chapter 07: six kernels, from a copy to the fused selective scan."""

import torch
import triton
from torch import Tensor
from torch.nn.functional import pad, silu, softplus

from minimamba.course.exercises.kernels import first_only, kernel_exercise

BLOCK = 4
"""Elements, channels, rows or columns of one program."""
TILE = 8
"""Steps of a tile of the cumulative sum."""
CHUNK = 4
"""Steps of a tile of the scan, and from one saved state to the next."""
NAN = float("nan")


def _random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed + sum(shape)))


def _blocks(size: int) -> int:
    return triton.cdiv(size, BLOCK)


# 07.1

def copy(x: Tensor) -> dict[str, Tensor]:
    """A copy."""
    return {"y": x}


def _launch_copy(kernel, x, y):
    kernel[(_blocks(len(x)),)](x, y, len(x), BLOCK=BLOCK)


def _copy_up_to(end):
    """Only the first elements are copied, as many as `end` says for a length."""
    return lambda x: {"y": torch.where(torch.arange(len(x)) < end(len(x)), x, NAN)}


# 07.2

def _matrix(rows: int, columns: int, transposed: bool) -> tuple[Tensor]:
    return (_random(columns, rows).T if transposed else _random(rows, columns),)


def _launch_copy_tile(kernel, x, y):
    (rows, columns), strides = x.shape, x.stride()
    kernel[_blocks(rows), _blocks(columns)](x, y, rows, columns, *strides, ROWS=BLOCK,
                                            COLUMNS=BLOCK)


def _read_with(strides):
    """A copy that takes each element from the offset that wrong strides give."""
    def mistake(x):
        memory = pad(x.as_strided((x.numel(),), (1,)), (0, 99), value=NAN)
        row, column = (torch.arange(size) for size in x.shape)
        row_stride, column_stride = strides(x)
        return {"y": memory[row[:, None] * row_stride + column * column_stride]}
    return mistake


def _ids_swapped(x):
    """Programs along the rows copy columns: some tiles are missing, others don't exist."""
    y = torch.full_like(x, NAN)
    done = tuple(slice(0, BLOCK * _blocks(size)) for size in x.shape[::-1])
    y[done] = x[done]
    return {"y": y}


def _only_where(same):
    """A copy of the elements whose row and column have something in common."""
    def mistake(x):
        row, column = (torch.arange(size) for size in x.shape)
        return {"y": torch.where(same(row[:, None]) == same(column), x, NAN)}
    return mistake


def _first_blocks(axes):
    """Only the first block of some axes is copied."""
    def mistake(x):
        y = torch.full_like(x, NAN)
        first = tuple(slice(0, BLOCK if axis in axes else None) for axis in (0, 1))
        y[first] = x[first]
        return {"y": y}
    return mistake


# 07.3

def cumulative_sum(x: Tensor) -> dict[str, Tensor]:
    """The running sum of each channel along time."""
    return {"y": x.cumsum(0)}


def _launch_cumulative_sum(kernel, x, y):
    kernel[(_blocks(x.shape[1]),)](x, y, *x.shape, TILE=TILE, BLOCK=BLOCK)


def _along_channels(x):
    return {"y": torch.cat([part.cumsum(1) for part in x.split(BLOCK, 1)], 1)}


# 07.4

def first_order_scan(a: Tensor, b: Tensor, *, reset: int | None = None, padded: float = 1.0,
                     everywhere: bool = False, raw: bool = False,
                     carried: int = -1) -> dict[str, Tensor]:
    """h_t = a_t h_{t−1} + b_t from h = 0, and the last state.

    Mistakes: the state is lost before every `reset`-th step; a last tile that is partly filled
    multiplies it by `padded`; the carry is added to every step of a tile, or not multiplied by a
    in the first one; the carry is row `carried` of a tile.
    """
    states, h, carry = [], torch.zeros_like(b[0]), torch.zeros_like(b[0])
    for t in range(len(a)):
        first = t % CHUNK == 0
        if first and t:
            h = states[-CHUNK:][carried]
        if everywhere and first:
            carry, h = h, torch.zeros_like(h)
        if reset and t % reset == 0:
            h = torch.zeros_like(h)
        h = (1 if raw and first else a[t]) * (h + carry) + b[t]
        states.append(h)
    rows_left = -len(a) % CHUNK
    last = states[-1 if carried == -1 else (len(a) - 1) // CHUNK * CHUNK + carried]
    if rows_left:
        last = last * padded + (rows_left * carry if everywhere else 0)
    return {"h": torch.stack(states), "last": last}


def _products(a, b):
    """The first result of the scan, the products of a, in place of the states."""
    products = torch.cat([tile.cumprod(0) for tile in a.split(CHUNK)])
    return {"h": products, "last": products[-1]}


def _products_stored(a, b):
    return {"h": _products(a, b)["h"], "last": first_order_scan(a, b)["last"]}


def _last_unwritten(a, b):
    return {"h": first_order_scan(a, b)["h"], "last": torch.full_like(b[0], NAN)}


def _launch_first_order_scan(kernel, a, b, h, last):
    kernel[(_blocks(a.shape[1]),)](a, b, h, last, *a.shape, TILE=CHUNK, BLOCK=BLOCK)


def _steps(length: int, channels: int) -> tuple[Tensor, Tensor]:
    return _random(length, channels).sigmoid(), _random(length, channels, seed=1)


# 07.5 and 07.6

def selective_scan(x: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor, z: Tensor,
                   *, skip: bool = True, gate: bool = True, step: bool = True, read: bool = True,
                   decay=torch.exp, keep: bool = True, saved_after: bool = False,
                   gated_skip: bool = True, rectify: bool | None = None, activation=silu,
                   read_before: bool = False, rate: bool = True,
                   save: bool = True) -> dict[str, Tensor]:
    """The gated selective scan in float32, and the state before each chunk.

    A Δ with negative values goes through softplus; an empty z is no gate. The options are mistakes.
    """
    x, delta, z = x.float(), delta.float(), z.float()
    if (delta < 0).any() if rectify is None else rectify:
        delta = softplus(delta)
    h, outputs, saved = torch.zeros(len(x), *A.shape), [], []
    for t in range(x.shape[1]):
        if t % CHUNK == 0 and not saved_after:
            saved.append(h)
        b = (delta[:, t] * x[:, t] if step else x[:, t])[..., None] * B[:, t, None]
        before = h
        h = decay((delta[:, t, :, None] if rate else 1) * A) * h * keep + b
        if t % CHUNK == 0 and saved_after:
            saved.append(h)
        outputs.append(((before if read_before else h) * (C if read else B)[:, t, None]).sum(-1))
    y, from_input = torch.stack(outputs, 1), D * x * skip
    if z.numel() and gate:
        y = (y + from_input) * activation(z) if gated_skip else y * activation(z) + from_input
    else:
        y = y + from_input
    states = torch.stack(saved, 1)
    return {"y": y, "chunk_states": states if save else torch.full_like(states, NAN)}


def _parts(batch, length, d_inner, d_state, dtype=torch.float32, softplus=True, gate=True):
    shapes = (batch, length, d_inner), (batch, length, d_state)
    delta = _random(*shapes[0], seed=1)
    z = _random(*shapes[0], seed=2) if gate else torch.zeros(0)
    return (_random(*shapes[0]).to(dtype), (delta if softplus else delta.abs()).to(dtype),
            -_random(d_inner, d_state, seed=3).exp(), _random(*shapes[1], seed=4),
            _random(*shapes[1], seed=5), _random(d_inner, seed=6), z.to(dtype))


def _one_sequence(length: int, d_inner: int, d_state: int) -> tuple[Tensor, ...]:
    x, delta, A, B, C, _, _ = _parts(1, length, d_inner, d_state, softplus=False)
    return x[0], delta[0], A, B[0], C[0]


def scan_block(x: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor,
               **mistakes) -> dict[str, Tensor]:
    """The selective scan of one sequence, without D and z."""
    nothing = torch.zeros(len(A)), torch.zeros(0)
    full = selective_scan(x[None], delta[None], A, B[None], C[None], *nothing, **mistakes)
    return {"y": full["y"][0]}


def _launch_scan_block(kernel, x, delta, A, B, C, y):
    kernel[(_blocks(x.shape[1]),)](x, delta, A, B, C, y, *x.shape, BLOCK=BLOCK, N=A.shape[1])


def _launch_forward_kernel(kernel, x, delta, A, B, C, D, z, y, chunk_states):
    batch, length, d_inner = x.shape
    kernel[batch, _blocks(d_inner)](
        x, delta, A, B, C, D, z if z.numel() else None, y, chunk_states, length, *A.shape,
        SOFTPLUS=bool((delta < 0).any()), CHUNK=CHUNK, BLOCK=BLOCK,
        N=triton.next_power_of_2(A.shape[1]))


def _scan_with(definition=selective_scan, **mistakes):
    return lambda *tensors: definition(*tensors, **mistakes)


def _inputs_of_first_sequence(*tensors):
    """All programs read sequence 0 and store to it; the states are stored where they belong."""
    outputs = selective_scan(*tensors)
    y = torch.full_like(outputs["y"], NAN)
    y[0] = outputs["y"][0]
    return {"y": y, "chunk_states": outputs["chunk_states"][:1].expand_as(outputs["chunk_states"])}


def _skip_without_x(x, delta, A, B, C, D, z):
    outputs = selective_scan(x, delta, A, B, C, D, z)
    gate = silu(z.float()) if z.numel() else 1
    return {**outputs, "y": outputs["y"] + D * (1 - x.float()) * gate}


EXERCISES = {
    "07.1": kernel_exercise(
        copy, _launch_copy, lambda length: (_random(length),), {"y": ("element",)},
        ({"length": 10}, {"length": 8}, {"length": 3}),
        {"Every program copies the same elements. The offsets must depend on tl.program_id(0).":
            _copy_up_to(lambda length: BLOCK),
         "Neighboring programs overlap: the first offset of a program is its id times BLOCK.":
            _copy_up_to(lambda length: _blocks(length) - 1 + BLOCK),
         "The last block, which is only partly filled, is left out: its elements need the mask "
         "offsets < length.":
            _copy_up_to(lambda length: length // BLOCK * BLOCK),
         "The last element is missing. They are numbered from 0 to length − 1.":
            _copy_up_to(lambda length: length - 1),
         "Each program copies a single element: add tl.arange(0, BLOCK) for its whole block.":
            lambda x: {"y": torch.where(torch.arange(len(x)) % BLOCK == 0, x, NAN)},
         "y holds the offsets. Load the elements of x from there first.":
            lambda x: {"y": torch.arange(len(x), dtype=x.dtype)},
         "y is 1 where there is an element: that is the mask.":
            lambda x: {"y": torch.ones_like(x)}}),
    "07.2": kernel_exercise(
        copy, _launch_copy_tile, _matrix, {"y": ("row", "column")},
        ({"rows": 5, "columns": 10, "transposed": False},
         {"rows": 5, "columns": 10, "transposed": True}),
        {"x and y are treated as if they had the same strides. x has two of its own, y has "
         "`columns` and 1.": _read_with(lambda x: (x.shape[1], 1)),
         "The two strides of x are swapped.": _read_with(lambda x: x.stride()[::-1]),
         "Only the first column of programs does its work: use tl.program_id(1) for the columns.":
            _first_blocks((1,)),
         "Only the first row of programs does its work: use tl.program_id(0) for the rows.":
            _first_blocks((0,)),
         "All programs copy the same tile: the rows and columns depend on the program ids.":
            _first_blocks((0, 1)),
         "The program ids are swapped: id 0 counts along the rows, id 1 along the columns.":
            _ids_swapped,
         "Rows and columns depend on one program id. There are two: 0 for rows, 1 for columns.":
            _only_where(lambda index: index // BLOCK),
         "Rows and columns are taken in pairs. A tile needs a column of rows, [:, None], and a row "
         "of columns, [None, :].":
            _only_where(lambda index: index % BLOCK),
         "y is stored column by column: its strides are `columns` for a row, 1 for a column.":
            lambda x: {"y": x.T.reshape(x.shape)}}),
    "07.3": kernel_exercise(
        cumulative_sum, _launch_cumulative_sum,
        lambda length, channels: (_random(length, channels),), {"y": ("step", "channel")},
        ({"length": 6, "channels": 5}, {"length": 8, "channels": 3}),
        {"The sum runs along the channels. Time is the first axis of the tile: axis 0.":
            _along_channels,
         "That is the sum of all steps, at each step. The running sum is a scan.":
            lambda x: {"y": x.sum(0).expand_as(x)},
         "That is a copy: the scan is missing.": copy,
         "A step's own value is missing: it belongs to its sum.":
            lambda x: {"y": x.cumsum(0) - x},
         "The sum runs backwards, from the last step to the first.":
            lambda x: {"y": x.flip(0).cumsum(0).flip(0)},
         "That is the running product: what does the function of the scan compute?":
            lambda x: {"y": x.cumprod(0)},
         "Only the first block of channels is right: its number is tl.program_id(0).":
            first_only(cumulative_sum, BLOCK, axis=1)}),
    "07.4": kernel_exercise(
        first_order_scan, _launch_first_order_scan, _steps,
        {"h": ("step", "channel"), "last": ("channel",)},
        ({"length": 10, "channels": 5}, {"length": 8, "channels": 3}, {"length": 3, "channels": 1}),
        {"Each tile starts from zero: add a · carry to b at the first step of the tile.":
            _scan_with(first_order_scan, reset=CHUNK),
         "The last state is lost beyond the end of the sequence: load a with other=1.0 there.":
            _scan_with(first_order_scan, padded=0.0),
         "The carry is added at each step of a tile: only the first step may have it.":
            _scan_with(first_order_scan, everywhere=True),
         "The states are right. The carry still has to be stored to last, after the loop.":
            _last_unwritten,
         "The carry decays in the first step of a tile: add a · carry, not the carry.":
            _scan_with(first_order_scan, raw=True),
         "The carry is the state in the last row of a tile, not in the first.":
            _scan_with(first_order_scan, carried=0),
         "Those are the products of a, the first result of the scan. The states are the second.":
            _products,
         "last is right, but h gets the products of a: store the scan's second result.":
            _products_stored,
         "That is the running sum of b: a has to come in.":
            lambda a, b: first_order_scan(torch.ones_like(a), b),
         "Only the first block of channels is right: it depends on tl.program_id(0).":
            first_only(first_order_scan, BLOCK, axis=-1)}),
    "07.5": kernel_exercise(
        scan_block, _launch_scan_block, _one_sequence, {"y": ("step", "channel")},
        ({"length": 6, "d_inner": 5, "d_state": 2}, {"length": 3, "d_inner": 4, "d_state": 4}),
        {"The state isn't kept: h is the decay times the h of the step before, plus Δ x B.":
            _scan_with(scan_block, keep=False),
         "The decay is exp(Δ A): the exponential is missing.":
            _scan_with(scan_block, decay=lambda exponent: exponent),
         "What a step adds to the state is Δ x B: a factor Δ is missing.":
            _scan_with(scan_block, step=False),
         "y reads the state with C, not with B.": _scan_with(scan_block, read=False),
         "y_t reads the state after the update: store it at the end of the step.":
            _scan_with(scan_block, read_before=True),
         "The decay is exp(Δ A): Δ is missing in the exponent.":
            _scan_with(scan_block, rate=False),
         "The state grows: A is negative already, so the decay is exp(Δ A).":
            _scan_with(scan_block, decay=lambda exponent: (-exponent).exp()),
         "1 + Δ A is Euler's approximation of the decay: take the exponential.":
            _scan_with(scan_block, decay=lambda exponent: 1 + exponent),
         "What a step adds to the state is Δ x B: the input x is missing.":
            lambda x, *rest: scan_block(torch.ones_like(x), *rest),
         "What a step adds to the state is Δ x B: B is missing.":
            lambda x, delta, A, B, C: scan_block(x, delta, A, torch.ones_like(B), C),
         "y is the sum over the state times C: C is missing.":
            lambda x, delta, A, B, C: scan_block(x, delta, A, B, torch.ones_like(C)),
         "B is the same at every step: that of step t is at t * N.":
            lambda x, delta, A, B, C: scan_block(x, delta, A, B[:1].expand_as(B), C),
         "C is the same at every step: that of step t is at t * N.":
            lambda x, delta, A, B, C: scan_block(x, delta, A, B, C[:1].expand_as(C)),
         "Only the first block of channels is right: keep the first line of the kernel.":
            first_only(scan_block, BLOCK, axis=1)}),
    "07.6": kernel_exercise(
        selective_scan, _launch_forward_kernel, _parts,
        {"y": ("sequence", "step", "channel"),
         "chunk_states": ("sequence", "chunk", "channel", "state component")},
        ({"batch": 2, "length": 6, "d_inner": 5, "d_state": 3, "dtype": torch.bfloat16},
         {"batch": 1, "length": 4, "d_inner": 4, "d_state": 2, "softplus": False, "gate": False}),
        {"Only sequence 0 is right: step t of a sequence is row batch * length + t of x.":
            _inputs_of_first_sequence,
         "The skip D x is missing.": _scan_with(skip=False),
         "The gate is missing: multiply y by silu(z) if there is a z.": _scan_with(gate=False),
         "The gate multiplies the whole output, D x too.": _scan_with(gated_skip=False),
         "Δ has to go through softplus where SOFTPLUS is true.": _scan_with(rectify=False),
         "Δ goes through softplus only where SOFTPLUS is true.": _scan_with(rectify=True),
         "The gate is silu(z), which is z times its sigmoid: a factor z is missing.":
            _scan_with(activation=torch.sigmoid),
         "The gate is silu(z), not z itself.": _scan_with(activation=lambda z: z),
         "The skip is D times x_t: x_t is missing.": _skip_without_x,
         "y_t reads the state after the update.": _scan_with(read_before=True),
         "The state stays zero: h is what next_state returns.":
            lambda x, delta, A, B, *rest: selective_scan(x, delta, A, 0 * B, *rest),
         "B and C are swapped: B_t writes to the state, C_t reads it.":
            lambda x, delta, A, B, C, *rest: selective_scan(x, delta, A, C, B, *rest),
         "The state is written with C: next_state takes B_t.":
            lambda x, delta, A, B, C, *rest: selective_scan(x, delta, A, C, C, *rest),
         "y is right. For chapter 08 uncomment the three lines that save the states.":
            _scan_with(save=False),
         "Save the state before it is updated by the first step of a chunk, not after.":
            _scan_with(saved_after=True)}),
}
