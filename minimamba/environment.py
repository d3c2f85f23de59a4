"""What this machine can run: the report that chapter 00 opens with."""

import platform

import torch

from minimamba.scan import why_not
from minimamba.scan.triton import operator


def triton_mode() -> str:
    """Say how Triton kernels run on this machine.

    Returns:
        "native" if they are compiled for an NVIDIA GPU; "interpreter" if TRITON_INTERPRET=1
        makes them run on the CPU in Python, slowly, for reading and testing; "none" if they
        can't run, for the reason that `minimamba.scan.why_not("triton")` gives.
    """
    if why_not("triton"):
        return "none"
    return "interpreter" if operator.interpreted() else "native"


def report() -> str:
    """Describe this machine in a few lines: Python, torch, processor, GPU, Triton.

    Returns:
        One line per item, the name first.
    """
    gpu = "none found; every chapter runs without one"
    if torch.cuda.is_available():
        properties = torch.cuda.get_device_properties(0)
        gpu = f"{properties.name}, {properties.total_memory / 2**30:.0f} GiB"
    triton = {"native": "native: compiled for the GPU",
              "interpreter": "interpreter: kernels run on the CPU, for reading and testing",
              "none": f"none: {why_not('triton')}"}
    lines = {"Python": f"{platform.python_version()} on {platform.system()}",
             "torch": torch.__version__,
             "processor": f"{platform.machine()}, {torch.get_num_threads()} threads",
             "GPU": gpu,
             "Triton": triton[triton_mode()]}
    return "\n".join(f"{name:<10} {value}" for name, value in lines.items())
