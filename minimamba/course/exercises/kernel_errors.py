"""What an exception in a kernel says about it, in a learner's words."""

import re

MEANINGS = {
    r"'NoneType'":
        "A None takes part in the calculation: an argument that isn't there in this case, or a "
        "function that returns nothing.",
    r"tuple index out of range": "Fewer results are returned than the kernel needs.",
    r"'int' object is not iterable|unsupported tensor index":
        "Pointers and tiles aren't indexed by numbers: tl.load(pointer + offsets) reads, and "
        "[:, None] or [None, :] adds an axis. A shape is a tuple, such as (BLOCK,).",
    r"[Uu]nsupported ptr type":
        "tl.load and tl.store take a pointer first: an argument of the kernel, plus offsets.",
    r"pointer argument is not a block|cannot reshape":
        "A tile needs a pointer for each of its values: pointer + offsets.",
    r"pointer<|cannot cast \[":
        "A pointer stands where its values are meant: tl.load(pointer + offsets, mask) gets them.",
    r"must be Tensor, not|converted to Python scalar|real number, not":
        "Something of Python or torch is called with a tile: use the function of tl, such as "
        "tl.exp.",
    r"to have shape|shape_compatible|incompatible dimensions|Cannot broadcast|equal ranks":
        "The shapes of two tiles don't fit: [:, None] makes a column, [None, :] a row.",
    r"item assignment": "A tile can't be changed in place: make a new one with tl.where.",
    r"must be of type tl.constexpr|power of 2":
        "tl.arange takes sizes that are fixed before the launch, powers of two such as BLOCK.",
    r"`other` cannot be provided without `mask`": "An `other` needs a mask: pass both.",
    r"axis \d+ out of bounds": "The tile hasn't so many axes: the first one is axis 0.",
    r"Expected dtype .* got (bf16|fp16)":
        "tl.exp and tl.sigmoid take no half precision: convert first, with .to(tl.float32).",
    r"operand type\(s\) for @": "A product of matrices is tl.dot, or `matmul` where that is given.",
    r"has no attribute": "Triton has no function of this name.",
    r"is not defined": "Nothing has this name: is it misspelled, or in a cell that has not run?",
    r"missing .* required|unexpected keyword|multiple values|positional arguments? but":
        "Something is called with other arguments than it takes. The first line of the empty "
        "exercise stays as it is.",
}
"""For each pattern of a message what it means; the first that fits is said."""


def describe_kernel_error(error: Exception) -> str:
    """Say what went wrong as a kernel was compiled, interpreted or run.

    Args:
        error: what the launch raised; Triton wraps it.

    Returns:
        The innermost error, and what it usually means where that is known.
    """
    while error.__cause__ is not None:
        error = error.__cause__
    text = f"{type(error).__name__}: {error}".strip().rstrip(".")
    meaning = next((meaning for pattern, meaning in MEANINGS.items() if re.search(pattern, text)),
                   "")
    return f"it raised {text}. {meaning}".rstrip()
