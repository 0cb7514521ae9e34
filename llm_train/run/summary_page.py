"""The summary page of a run: curves, last numbers and settings in one self-contained HTML file."""

from __future__ import annotations

import base64
import html
import io
import json
from collections.abc import Sequence
from pathlib import Path

from kvar.utils.atomic_files import atomic_write
from kvar.utils.terminal import visible
from llm_train.run.run_files import read_metrics
from llm_train.secret_settings import masked

__all__ = ["write_summary"]

# One panel each: its title and its metrics.
_PANELS = (
    ("mean reward and pass rates", ("reward", "eval_train_pass@1", "eval_held_out_pass@1", "eval_pass@1")),
    ("squared error of the value", ("baseline/value_mse", "baseline/one_step_error")),
    ("standard error that the baseline gives", ("baseline/standard_error",)),
    ("effective sample size", ("baseline/effective_sample_size",)),
    ("bandwidth in steps", ("baseline/window",)),
    ("fraction of rollouts with advantage 0", ("baseline/zero_advantage",)),
    ("mean squared score norm", ("baseline/squared_norm_right", "baseline/squared_norm_wrong")),
    ("gradient norm", ("grad_norm",)),
    ("parts of the gradient's noise", ("gradient/noise", "gradient/prompt_part", "gradient/rollout_part")),
    ("gradient noise scale in rollouts", ("gradient/noise_scale",)),
    ("second moment of the gradient over the oracle's", ("baseline/second_moment",)),
    ("entropy", ("entropy",)),
    ("seconds per step", ("time/step", "time/generation", "time/reward", "time/baseline", "time/update")),
)
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00")
_PAGE = """<!doctype html>
<meta charset="utf-8">
<title>{title}</title>
<style>body {{ font: 15px/1.5 sans-serif; margin: 2em auto; max-width: 62em; padding: 0 1em }}
table {{ border-collapse: collapse }} td {{ padding: .1em 1.5em .1em 0; vertical-align: top }}
img {{ max-width: 100% }}</style>
<h1>{title}</h1>
<table>{result}</table>
<img alt="curves over training" src="data:image/png;base64,{picture}">
<h2>Settings that were given</h2>
<table>{given}</table>
"""


def write_summary(folder: Path, result: dict | None = None) -> Path:
    """Write ``summary.html`` into the folder of a run; without a result, that of the finished run."""
    given = masked(json.loads((folder / "config.json").read_text())["given"])  # of an earlier version, in clear
    result = json.loads((folder / "result.json").read_text()) if result is None else result
    picture = io.BytesIO()
    curves(read_metrics(folder / "metrics.jsonl")).savefig(picture, format="png", dpi=110)
    page = _PAGE.format(
        title=html.escape(visible(folder.name)),
        result=_rows(result),
        picture=base64.b64encode(picture.getvalue()).decode(),
        given=_rows(given),
    )
    with atomic_write(folder / "summary.html") as temporary:
        temporary.write_text(page, encoding="utf-8")
    return folder / "summary.html"


def _rows(entries: dict) -> str:
    def shown(value):
        return f"{value:.4g}" if isinstance(value, float) else visible(str(value))

    return "".join(f"<tr><td>{html.escape(k)}<td>{html.escape(shown(v))}" for k, v in entries.items())


def curves(metrics: Sequence[dict]):
    """Draw the logged metrics over the steps, one panel for each kind that was logged."""
    from matplotlib.figure import Figure

    lines = {
        name: [(entry["step"], entry[name]) for entry in metrics if entry.get(name) is not None]
        for _, names in _PANELS
        for name in names
    }
    panels = [(title, [name for name in names if lines[name]]) for title, names in _PANELS]
    panels = [(title, names) for title, names in panels if names] or [("nothing was logged", [])]
    rows = (len(panels) + 1) // 2
    figure = Figure(figsize=(11, 2.6 * rows), layout="constrained")
    axes = figure.subplots(rows, 2, squeeze=False).ravel()
    for panel, (title, names) in zip(axes, panels, strict=False):
        for name, colour in zip(names, _COLOURS, strict=False):
            panel.plot(*zip(*lines[name], strict=True), label=name.removeprefix("eval_"), color=colour, linewidth=1.3)
        panel.set_title(title, loc="left", fontsize=10)
        panel.spines[["top", "right"]].set_visible(False)
        panel.grid(alpha=0.25)
        if len(names) > 1:
            panel.legend(frameon=False, fontsize=8)
    for panel in axes[len(panels) :]:
        panel.set_axis_off()
    for panel in axes[max(0, len(panels) - 2) : len(panels)]:
        panel.set_xlabel("step")
    return figure
