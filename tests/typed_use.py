"""The stable names in typed code: ``mypy --strict --allow-untyped-calls tests/typed_use.py`` reports nothing."""

from pathlib import Path

import numpy as np

import kvar


def train_and_audit(folder: Path) -> str:
    """Use every stable name."""
    baseline: kvar.Baseline = kvar.make_baseline("kernel", bandwidth="auto")
    ids, rewards = ["a", "b"], np.array([[0.0, 1.0], [1.0, 1.0]])
    values = baseline.estimate(ids, rewards, 0)
    baseline.update(ids, rewards, 0)
    advantages = baseline.advantages(ids, rewards, 1.5)
    baseline.load_state_dict(baseline.state_dict())
    names: list[str] = kvar.baseline_names()
    writer = kvar.TraceWriter(folder)
    writer.write(0, {"prompt_id": ids, "reward": values[:, 0] + advantages[:, 1]})
    trace: kvar.Trace = kvar.read_trace(folder, format="auto")
    replayed: np.ndarray[tuple[int, ...], np.dtype[np.float64]] = kvar.replay(trace, names[0])
    report: kvar.AuditReport = kvar.audit(trace, baselines=names[:1])
    report.save(folder / "audit")
    model = kvar.KernelRegressor(kernel="triangular", bandwidth=0.1, degree=0, sided="two").fit(replayed, replayed)
    model.predict(replayed)
    model.loo_predict()
    chosen = kvar.select_bandwidth(replayed, replayed, method="loo-cv", kernel="epanechnikov", degree=0)
    print(chosen.bandwidth, chosen.grid, chosen.scores, report.table)
    return report.recommendation
