"""Kernel estimates of prompt values for reinforcement learning with few rollouts."""

from kvar._version import __version__
from kvar.auditing import AuditReport, audit
from kvar.baselines import Baseline, baseline_names, make_baseline
from kvar.kernels import Kernel, get_kernel, kernel_names
from kvar.readers.read_trace import read_trace
from kvar.replaying import replay
from kvar.rollouts.batch import Batch
from kvar.rollouts.trace import Trace
from kvar.rollouts.trace_files import TraceWriter, write_trace
from kvar.smoothing.bandwidth import BandwidthSelection, select_bandwidth
from kvar.smoothing.regression import KernelRegressor

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
