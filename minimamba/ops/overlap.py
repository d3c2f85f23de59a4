"""Overlapping launches: a Triton kernel begins while the one before it ends.

CUDA calls this programmatic dependent launch; GPUs have it from Hopper on (`can_overlap` in
`launch.py`). Such a kernel is launched with `launch_pdl`. Until it calls `wait_for_previous` it may
not read what the kernel before it writes, nor write anything but memory of its own. Memory that the
kernel before used for itself, or that has been freed since it was launched, is no such memory. So
the first kernel of a call is launched without: it begins when all before the call have ended.
"""

import triton
import triton.language as tl


@triton.jit
def wait_for_previous(OVERLAP: tl.constexpr):
    """Wait until the kernel before this one has ended, and let the one after this begin."""
    if OVERLAP:
        tl.extra.cuda.gdc_wait()
        # Not before the wait: the kernel after this one relies on all those before this having
        # ended.
        tl.extra.cuda.gdc_launch_dependents()
