"""The stable names in typed code: ``mypy --strict --allow-untyped-calls tests/typed_use.py`` reports nothing.

What is wrong is marked, and a mark without an error would be reported.
"""

from pathlib import Path

import numpy as np
import polars as pl
import torch

import kvar


def train_and_audit(folder: Path) -> str:
    """Use every stable name."""
    baseline: kvar.Baseline = kvar.make_baseline("kernel", bandwidth="auto")
    ids, rewards = ["a", "b"], np.array([[0.0, 1.0], [1.0, 1.0]])
    values = baseline.estimate(ids, rewards, 0)
    baseline.update(ids, rewards, 0)
    advantages = baseline.advantages(ids, rewards, 1.5)
    of_lists, info = baseline.advantages(ids, [[0, 1], [1, 1]], 2, return_info=True, score_norm=rewards)
    low, high = info.limits(bounds=(0.0, 1.0))
    print(of_lists.mean(), low.shape, high.dtype, baseline.estimate(ids, torch.ones(2), 3).tolist())
    baseline.load_state_dict(baseline.state_dict())
    names = kvar.baseline_names()
    writer = kvar.TraceWriter(folder)
    writer.write(0, {"prompt_id": ids, "reward": values[:, 0] + advantages[:, 1]})
    trace: kvar.Trace = kvar.read_trace(folder, format="auto")
    replayed: np.ndarray[tuple[int, ...], np.dtype[np.float64]] = kvar.replay(trace, names[0])
    report: kvar.AuditReport = kvar.audit(trace, baselines=names[:1])
    report.save(folder / "audit")
    frame = pl.DataFrame({"step": [0], "prompt": ["a"], "reward": [1.0]})
    kvar.audit(frame, "adaptive", columns={"reward": "reward"})
    kvar.prompt_values(kvar.read_trace(frame)).plot("a")
    model = kvar.KernelRegressor(kernel="triangular", bandwidth=0.1, degree=0, sided="two").fit(replayed, replayed)
    smooth: np.ndarray[tuple[int, ...], np.dtype[np.float64]] = model.predict(frame["step"])
    kvar.KernelRegressor(bandwidth="auto").fit([0.0, 1.0], smooth).loo_predict("step")
    chosen = kvar.select_bandwidth(replayed, replayed, method="loo-cv", kernel="epanechnikov", degree=0)
    print(chosen.bandwidth, chosen.grid, chosen.scores, report.table)
    return report.recommendation


def mistakes(trace: kvar.Trace) -> None:
    """What a type checker sees before it runs."""
    kvar.make_baseline("kernle")  # type: ignore[arg-type]
    kvar.make_baseline("kernel", bandwidth=[1.0])  # type: ignore[arg-type]
    kvar.make_baseline("adaptive").update(["a"], "1", 0)  # type: ignore[arg-type]
    kvar.make_baseline("adaptive").advantages(["a"], [1.0], "0")  # type: ignore[call-overload]
    kvar.replay(trace, "leave_one_out")  # type: ignore[arg-type]
    kvar.audit(trace, ["adaptve"])  # type: ignore[list-item]
    kvar.audit(3)  # type: ignore[arg-type]
    kvar.read_trace("log.csv", "tlr")  # type: ignore[arg-type]
    kvar.read_trace("log.csv", keep_txt=True)  # type: ignore[call-arg]
    kvar.score_norm_from_logprobs(-1.0)  # type: ignore[call-overload]
    kvar.audit(trace, column={"reward": "score"})  # type: ignore[call-arg]
    kvar.KernelRegressor("gausian")  # type: ignore[arg-type]
    kvar.KernelRegressor(bandwidth="automatic")  # type: ignore[arg-type]
    kvar.KernelRegressor(degree=3)  # type: ignore[arg-type]
    kvar.KernelRegressor(sided="left")  # type: ignore[arg-type]
    kvar.select_bandwidth([0.0], [1.0], "cv")  # type: ignore[arg-type]
    kvar.select_bandwidth([0.0], [1.0], empty=None)  # type: ignore[arg-type]
