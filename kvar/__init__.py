"""Kernel estimates of prompt values for reinforcement learning with few rollouts."""

from kvar.kernels import Kernel, get_kernel, kernel_names

__version__ = "0.1.0"

__all__ = ["Kernel", "__version__", "get_kernel", "kernel_names"]
