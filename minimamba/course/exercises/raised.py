"""What an exception in an answer says about it, in a learner's words."""

import re
import traceback
from collections.abc import Callable

CALLED_WITH_OTHER_NAMES = ("The check passes the arguments by name: keep the first line of the "
                           "empty exercise.")
MEANINGS = {
    r"^UnboundLocalError": "A name is used before it has a value: give it one before the loop.",
    r"^NameError": "Nothing has this name: is it misspelled, or defined in a cell that has not "
                   "run?",
    r"^RecursionError": "The function calls itself without end.",
    r"NoneType|ellipsis": "A `...` or None takes part in the calculation.",
    r"must be Tensor, not (float|int)|'(float|int)' object has no attribute|found type (float|int)":
        "That is a plain number, not a tensor: use `math`, or make a tensor of it.",
    r"converted to (a )?(Python )?scalar|converted to Scalar|Only 0-d|only 0-d|only (one|length-1)":
        "`math`, `float` and `torch.tensor` take single numbers: a tensor needs a function of "
        "`torch`, a list of tensors `torch.stack`.",
    r"condition to be a boolean": "`torch.where` needs a condition, such as a comparison by `==`.",
    r"at least 2 dimensions|must be batches of square|expected a matrix|must be 2-?D":
        "That is a function for matrices, but it gets a vector.",
    r"Boolean value of Tensor":
        "An `if` needs one truth value; for each element apart, there is `torch.where`.",
    r"stack expects|Sizes of tensors must match|must be tuple of Tensors|expected a non-empty list":
        "`torch.stack` takes a list of tensors that all have one shape.",
    r"must match|not broadcastable|cannot be multiplied|doesn't match|inconsistent|size mismatch"
    r"|must be at least|subscript|invalid for input of size|tensors? expected":
        "The shapes don't fit: print both. `[..., None]` makes an axis of size 1 where one is "
        "missing.",
    r"same dtype|scalar type|can't be cast|expected m1":
        "Two dtypes don't fit: `zeros_like` and `new_zeros` take that of an argument, and "
        "torch.zeros is float32.",
    r"out of (range|bounds)|too many indices|^IndexError":
        "An index is too large: where does the loop end, and which axis is indexed?",
    r"^ZeroDivisionError": "Something is divided by 0. Which argument makes it 0?",
    r"math range error|^OverflowError": "A number is too large: rewrite it without large powers.",
    r"math domain error|expected a positive input|nonnegative input":
        "A logarithm or a root of something negative, or of 0: check the signs.",
    r"not callable": "Something is called that is no function: is a `*` missing, or a name used "
                     "twice?",
    r"unsupported operand|can't multiply|can only concatenate|must be real number|list indices":
        "A list or a text is used like a number or a tensor.",
}
"""For each pattern of "type: message", what it means; the first that fits is said."""


def describe_error(error: Exception, answer: Callable) -> str:
    """Say what an answer raised, in which line, and what that usually means.

    Args:
        error: what it raised.
        answer: the function.

    Returns:
        A text that begins with "it raised".
    """
    text = f"{type(error).__name__}: {error}".strip().rstrip(".")
    file = getattr(getattr(answer, "__code__", None), "co_filename", None)
    frames = [frame for frame in traceback.extract_tb(error.__traceback__)
              if frame.filename == file]
    line = f", in `{frames[-1].line}`" if frames and frames[-1].line else ""
    if file and not frames and isinstance(error, TypeError):
        meaning = CALLED_WITH_OTHER_NAMES
    else:
        meaning = next((meaning for pattern, meaning in MEANINGS.items()
                        if re.search(pattern, text)), "")
    return f"it raised {text}{line}. {meaning}".rstrip()
