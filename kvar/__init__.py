"""Kernel estimates of prompt values for reinforcement learning with few rollouts."""

from kvar.bandwidth import BandwidthSelection, select_bandwidth
from kvar.kernels import Kernel, get_kernel, kernel_names
from kvar.regression import KernelRegressor

__version__ = "0.1.0"

__all__ = [
    "BandwidthSelection",
    "Kernel",
    "KernelRegressor",
    "__version__",
    "get_kernel",
    "kernel_names",
    "select_bandwidth",
]
