"""Kernel estimates of prompt values for reinforcement learning with few rollouts."""

from kvar.audit import AuditReport, audit
from kvar.bandwidth import BandwidthSelection, select_bandwidth
from kvar.baselines import Baseline, baseline_names, make_baseline
from kvar.batch import Batch
from kvar.kernels import Kernel, get_kernel, kernel_names
from kvar.regression import KernelRegressor
from kvar.replaying import replay
from kvar.traces import Trace, TraceWriter, read_trace, write_trace

__version__ = "0.1.0"

__all__ = [
    "AuditReport",
    "BandwidthSelection",
    "Baseline",
    "Batch",
    "Kernel",
    "KernelRegressor",
    "Trace",
    "TraceWriter",
    "__version__",
    "audit",
    "baseline_names",
    "get_kernel",
    "kernel_names",
    "make_baseline",
    "read_trace",
    "replay",
    "select_bandwidth",
    "write_trace",
]
