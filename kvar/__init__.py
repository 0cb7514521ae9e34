"""Kernel estimates of prompt values for reinforcement learning with few rollouts."""

from importlib import import_module
from typing import TYPE_CHECKING

from kvar._version import __version__
from kvar.baselines import Baseline, baseline_names, make_baseline
from kvar.kernels import Kernel, get_kernel, kernel_names
from kvar.readers.read_trace import read_trace
from kvar.replaying import replay
from kvar.rollouts.batch import Batch
from kvar.rollouts.trace import Trace
from kvar.rollouts.trace_files import TraceWriter, write_trace
from kvar.score_norms import score_norm_from_logprobs
from kvar.smoothing.bandwidth import BandwidthSelection, select_bandwidth

if TYPE_CHECKING:
    from kvar.auditing import AuditReport, RunsReport, audit
    from kvar.auditing.audit_runs import audit_runs
    from kvar.auditing.prompt_values import prompt_values
    from kvar.smoothing.regression import KernelRegressor

__all__ = [
    "AuditReport",
    "BandwidthSelection",
    "Baseline",
    "Batch",
    "Kernel",
    "KernelRegressor",
    "RunsReport",
    "Trace",
    "TraceWriter",
    "__version__",
    "audit",
    "audit_runs",
    "baseline_names",
    "get_kernel",
    "kernel_names",
    "make_baseline",
    "prompt_values",
    "read_trace",
    "replay",
    "score_norm_from_logprobs",
    "select_bandwidth",
    "write_trace",
]

# Names whose modules are imported when they are asked for, so that `import kvar` is quick.
_LAZY = {
    **dict.fromkeys(("AuditReport", "RunsReport", "audit", "audit_runs"), "kvar.auditing"),
    "KernelRegressor": "kvar.smoothing.regression",
    "prompt_values": "kvar.auditing.prompt_values",
}


def __getattr__(name):
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__():
    return sorted({*globals(), *_LAZY})
