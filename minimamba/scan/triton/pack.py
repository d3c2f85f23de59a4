"""B and C as the scan kernels read them fastest, and gradients as the caller wants them.

`pack` puts B and C, in any dtype and with any strides, into one float32 array that the other
kernels can read without looking where the sequence ends. `finish` goes back: it adds up the parts
of the gradients that different programs of `backward` have computed.

| array | shape | contents |
|---|---|---|
| BC | (batch, steps, groups, 2, N) | B and C in float32; 0 beyond the length and d_state |
| dA_parts | (rows, d_inner, N) | one row for each split of each sequence |
| dD_parts, d_bias_parts | (rows, d_inner) | one row for each chunk of each sequence |
| dBC_parts | (batch, parts, tiles, N / PART, 2, TILE, PART) | dB and dC by tile, of parts |

`steps` is the length rounded up to whole chunks, and N is d_state rounded up to a power of two.
"""

import triton
import triton.language as tl

STRIDES = ["B_sequence", "B_step", "B_group", "B_state", "C_sequence", "C_step", "C_group",
           "C_state"]
"""Arguments of `pack`: elements from a sequence, a step, a group or a state to the next."""
RUNTIME_SIZES = [*STRIDES, "length", "padded_length", "dA_rows", "sum_rows", "parts",
                 "dA_programs", "sum_programs", "dB_programs", "row_blocks"]
"""Arguments whose values don't trigger a new compilation."""


@triton.jit
def load_rows(pointer, sequence, step, group, length, sequence_stride, step_stride, group_stride,
              state_stride, APART: tl.constexpr, d_state: tl.constexpr, N: tl.constexpr):
    """Rows (ROWS, N) of B or C in float32, 0 where there is no step or no such state.

    `sequence`, `step` and `group` are int64. The states lie together, or APART: then (N, ROWS) is
    loaded, since neighbouring lanes load what is next to each other along the last axis, and steps
    may lie together.
    """
    row = sequence * sequence_stride + step * step_stride + group * group_stride
    if APART:
        state = tl.arange(0, N)[:, None]
        there = (state < d_state) & (step < length)[None, :]
        columns = tl.load(pointer + state.to(tl.int64) * state_stride + row[None, :], there, 0.0)
        return tl.trans(columns).to(tl.float32)
    else:
        state = tl.arange(0, N)[None, :]
        there = (step < length)[:, None] & (state < d_state)
        return tl.load(pointer + row[:, None] + state, there, 0.0).to(tl.float32)


@triton.jit(do_not_specialize=RUNTIME_SIZES)
def pack(B_ptr, C_ptr, BC_ptr, B_sequence, B_step, B_group, B_state, C_sequence, C_step, C_group,
         C_state, length, padded_length, groups: tl.constexpr, B_groups: tl.constexpr,
         C_groups: tl.constexpr, APART: tl.constexpr, d_state: tl.constexpr, N: tl.constexpr,
         ROWS: tl.constexpr):
    """Write BC.

    Grid: (blocks of ROWS rows, batch). A row is a step and a group.
    """
    sequence = tl.program_id(1).to(tl.int64)
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    step, group = row // groups, row % groups
    B = load_rows(B_ptr, sequence, step, group // (groups // B_groups), length, B_sequence, B_step,
                  B_group, B_state, APART, d_state, N)
    C = load_rows(C_ptr, sequence, step, group // (groups // C_groups), length, C_sequence, C_step,
                  C_group, C_state, APART, d_state, N)
    rows = sequence * padded_length * groups + row
    places = rows[:, None] * (2 * N) + tl.arange(0, N)[None, :]
    there = (step < padded_length)[:, None]
    tl.store(BC_ptr + places, B, there)
    tl.store(BC_ptr + places + N, C, there)


@triton.jit
def sum_rows_of(pointer, rows, column, there, width: tl.constexpr, ROWS: tl.constexpr):
    """Sums over the rows of a matrix (rows, width), for some columns."""
    total = tl.zeros((ROWS, column.shape[0]), tl.float32)
    for first in range(0, rows, ROWS):
        row = first + tl.arange(0, ROWS)[:, None]
        total += tl.load(pointer + row.to(tl.int64) * width + column[None, :],
                         (row < rows) & there[None, :], 0.0)
    return tl.sum(total, 0)


@triton.jit
def add_parts(parts_ptr, out_ptr, program, which: tl.constexpr, length, padded_length, parts,
              row_blocks, groups: tl.constexpr, TIME_LAST: tl.constexpr, d_state: tl.constexpr,
              N: tl.constexpr, PART: tl.constexpr, TILE: tl.constexpr, ROWS: tl.constexpr):
    """dB (`which` 0) or dC (1), of one group of a block of steps: (batch, length, groups, d_state)
    or, if TIME_LAST, (batch, groups, d_state, length)."""
    group = program // row_blocks % groups
    sequence = (program // row_blocks // groups).to(tl.int64)
    first = program % row_blocks * ROWS
    in_block = tl.arange(0, ROWS)
    step = first + in_block
    state = tl.arange(0, N)[None, :]
    # (tiles, N / PART, 2, TILE, PART)
    places = ((in_block // TILE * (2 * TILE * N) + in_block % TILE * PART)[:, None]
              + (state // PART * 2 + which) * TILE * PART + state % PART)
    there = (step < length)[:, None] & (state < d_state)
    part = (sequence * groups + group) * parts
    total = tl.zeros((ROWS, N), tl.float32)
    for i in range(parts):
        block_of_part = parts_ptr + ((part + i) * padded_length + first) * 2 * N
        total += tl.load(block_of_part + places, there, 0.0)
    if TIME_LAST:
        offsets = ((sequence * groups + group) * d_state + state) * length + step[:, None]
    else:
        offsets = ((sequence * length + step) * groups + group)[:, None] * d_state + state
    tl.store(out_ptr + offsets, total.to(out_ptr.dtype.element_ty), there)


@triton.jit(do_not_specialize=RUNTIME_SIZES)
def finish(dA_ptr, dD_ptr, d_bias_ptr, dB_ptr, dC_ptr, dBC_parts, dA_parts, dD_parts, d_bias_parts,
           length, padded_length, dA_rows, sum_rows, parts, dA_programs, sum_programs, dB_programs,
           row_blocks, groups: tl.constexpr, B_groups: tl.constexpr, C_groups: tl.constexpr,
           TIME_LAST: tl.constexpr, d_inner: tl.constexpr, d_state: tl.constexpr, N: tl.constexpr,
           PART: tl.constexpr, TILE: tl.constexpr, ROWS: tl.constexpr, SUM_ROWS: tl.constexpr,
           COLUMNS: tl.constexpr):
    """Write dA, dD and d_bias, dB and dC.

    Grid: (dA_programs + sum_programs + the programs of dB and of dC,). `parts` are those of one of
    the `groups`.
    """
    program = tl.program_id(0)
    column = program * COLUMNS + tl.arange(0, COLUMNS)
    if program < dA_programs:
        state = column % N
        there = (column < d_inner * N) & (state < d_state)
        total = sum_rows_of(dA_parts, dA_rows, column, there, d_inner * N, SUM_ROWS)
        tl.store(dA_ptr + column // N * d_state + state, total, there)
    elif program < dA_programs + sum_programs:
        column -= dA_programs * COLUMNS
        there = column < d_inner
        tl.store(dD_ptr + column, sum_rows_of(dD_parts, sum_rows, column, there, d_inner,
                                              SUM_ROWS), there)
        tl.store(d_bias_ptr + column, sum_rows_of(d_bias_parts, sum_rows, column, there, d_inner,
                                                  SUM_ROWS), there)
    elif program < dA_programs + sum_programs + dB_programs:
        add_parts(dBC_parts, dB_ptr, program - dA_programs - sum_programs, 0, length,
                  padded_length, parts * (groups // B_groups), row_blocks, B_groups, TIME_LAST,
                  d_state, N, PART, TILE, ROWS)
    else:
        add_parts(dBC_parts, dC_ptr, program - dA_programs - sum_programs - dB_programs, 1, length,
                  padded_length, parts * (groups // C_groups), row_blocks, C_groups, TIME_LAST,
                  d_state, N, PART, TILE, ROWS)
