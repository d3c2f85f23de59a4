"""The selective scan as Triton kernels for NVIDIA GPUs."""
