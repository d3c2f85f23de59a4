"""Mamba-2's scan as Triton kernels for NVIDIA GPUs."""
