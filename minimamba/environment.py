"""What this machine can run: the report that chapter 00 opens with."""

import importlib.util
import os
import platform

import torch


def triton_mode() -> str:
    """How Triton kernels run here: "native", "interpreter" or "none".

    "native" compiles them for an NVIDIA GPU; "interpreter" runs them on the CPU, one step at
    a time, which is right but slow (TRITON_INTERPRET=1 asks for it); "none" has no Triton.
    """
    if importlib.util.find_spec("triton") is None:
        return "none"
    if os.environ.get("TRITON_INTERPRET") == "1" or not torch.cuda.is_available():
        return "interpreter"
    return "native"


def report() -> str:
    """A few lines on this machine: Python, torch, processor, GPU, Triton."""
    gpu = "none found; every chapter runs without one"
    if torch.cuda.is_available():
        properties = torch.cuda.get_device_properties(0)
        gpu = f"{properties.name}, {properties.total_memory / 2**30:.0f} GiB"
    triton = {"native": "native: compiled for the GPU",
              "interpreter": "interpreter: kernels run on the CPU, for reading and testing",
              "none": "none: not made for this system; only chapters 07 and 08 ask for it"}
    lines = {"Python": f"{platform.python_version()} on {platform.system()}",
             "torch": torch.__version__,
             "processor": f"{platform.machine()}, {torch.get_num_threads()} threads",
             "GPU": gpu,
             "Triton": triton[triton_mode()]}
    return "\n".join(f"{name:<10} {value}" for name, value in lines.items())
