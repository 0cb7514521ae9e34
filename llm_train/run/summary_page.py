"""The summary page of a run: a verdict, curves, results and settings in one HTML file, in the look of an audit's."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

import jinja2
import numpy as np

from kvar.auditing.page import template, whole_page
from kvar.auditing.pictures import drawing_style, svg
from kvar.commands.audit import output_folder
from kvar.plotting import new_figure
from kvar.utils.atomic_files import atomic_write_text
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
    (
        "seconds per step",
        ("time/step", "time/generation", "time/reward", "time/columns", "time/baseline", "time/update"),
    ),
)
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00")
# The verdict compares the first fifth of the logged rewards with the last one.
_PARTS, _LEAST_LOGGED = 5, 15
_PAGE = """<div class="kvar-audit">
{{ style | safe }}
<h1>Training run {{ name }}</h1>
<p class="lead">{{ verdict }}</p>
<div class="cards">{% for number, what in cards %}<div class="card"><b>{{ number }}</b><span>{{ what }}</span></div>
{% endfor %}</div>
{% if trace %}<p>Which baseline, window and group size would have served this run best?
<code>kvar audit {{ trace }}</code> writes <a href="{{ audit }}">this page</a>.</p>
{% endif %}<h2>Curves</h2>
<figure>{{ drawing | safe }}</figure>
{% for title, entries in tables %}<details><summary>{{ title }}</summary>
<table>{% for key, value in entries.items() %}<tr><td>{{ key }}</td><td>{{ value }}</td></tr>
{% endfor %}</table></details>
{% endfor %}</div>
"""


def write_summary(folder: Path, result: dict | None = None) -> Path:
    """Write ``summary.html`` into the folder of a run; without a result, that of the finished run."""
    config = json.loads((folder / "config.json").read_text())
    result = json.loads((folder / "result.json").read_text()) if result is None else result
    metrics, trace = read_metrics(folder / "metrics.jsonl"), config["training"].get("trace_dir")
    with drawing_style():
        drawing = svg(curves(metrics), "Curves of the run over its steps")
    content = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined).from_string(_PAGE)
    name = visible(folder.name)
    page = content.render(
        style=template("style.html.j2").render(),
        name=name,
        verdict=verdict(metrics, result),
        cards=_cards(metrics, result),
        trace=trace and visible(shlex.quote(trace)),
        audit=trace and visible(os.path.relpath(output_folder(trace) / "audit.html", folder)),
        drawing=drawing,
        # Of an earlier version, settings are in clear.
        tables=[("Settings that were given", _shown(masked(config["given"]))), ("All results", _shown(result))],
    )
    atomic_write_text(folder / "summary.html", whole_page(page, f"Training run {name}"))
    return folder / "summary.html"


def verdict(metrics: Sequence[Mapping], result: Mapping) -> str:
    """Whether the reward rose, in a sentence; after one that says so if the run was stopped."""
    rewards = np.array([entry["reward"] for entry in metrics if entry.get("reward") is not None])
    stopped = (
        f"The run was stopped after step {result['stopped']} of {result['steps']}. " if "stopped" in result else ""
    )
    if len(rewards) < _LEAST_LOGGED:
        return f"{stopped}{len(rewards)} logged rewards are too few to say whether the reward rose."
    part = len(rewards) // _PARTS
    first, last = rewards[:part], rewards[-part:]
    change = last.mean() - first.mean()
    error = np.sqrt((first.var(ddof=1) + last.var(ddof=1)) / part)
    moved = ("rose" if change > 0 else "fell") if abs(change) > 2 * error else "did not change beyond chance"
    return (
        f"{stopped}The mean reward {moved}, from {first.mean():.3g} in the first fifth of the logged steps to "
        f"{last.mean():.3g} in the last, a change of {change:+.2g} ± {error:.2g} (standard error over steps)."
    )


def _cards(metrics: Sequence[Mapping], result: Mapping) -> list[tuple[str, str]]:
    """Results with their units; pass rates with those before training."""
    before = next((entry for entry in metrics if any("pass@" in name for name in entry)), {})
    cards = []
    for name, value in result.items():
        if "pass@" in name:
            prompts, _, rate = name.removeprefix("eval_").rpartition("pass@")
            of = f"{prompts.strip('_').replace('_', '-') or 'evaluation'} prompts"
            started = f"{before[name]:.3f} → " if name in before and before["step"] < result.get("step", 0) else ""
            cards.append((f"{started}{value:.3f}", f"pass@{rate} on {of}"))
        elif name == "rollouts":
            cards.append((f"{value:,}", f"rollouts in {result['step']:,} optimizer steps"))
        elif name == "seconds":
            cards.append((f"{value / 60:.1f} min" if value >= 60 else f"{value:.0f} s", f"on {result['device']}"))
        elif name.endswith("bytes"):
            size = f"{value / 2**30:.1f} GiB" if value >= 2**30 else f"{value / 2**20:.1f} MiB"
            cards.append((size, name.removesuffix("_bytes").replace("_", " ")))
    return cards


def _shown(entries: Mapping) -> dict[str, str]:
    return {k: f"{v:.4g}" if isinstance(v, float) else visible(str(v)) for k, v in entries.items()}


def curves(metrics: Sequence[Mapping]):
    """Draw the logged metrics over the steps, one panel for each kind that was logged."""
    lines = {
        name: [(entry["step"], entry[name]) for entry in metrics if entry.get(name) is not None]
        for _, names in _PANELS
        for name in names
    }
    panels = [(title, [name for name in names if lines[name]]) for title, names in _PANELS]
    panels = [(title, names) for title, names in panels if names] or [("nothing was logged", [])]
    rows = (len(panels) + 1) // 2
    figure, axes = new_figure(6.0, 1.8 * rows, (1,) * rows, (1, 1), sharex="none", grid=True)
    for panel, (title, names) in zip(axes, panels, strict=False):
        for name, colour in zip(names, _COLOURS, strict=False):
            label = name.removeprefix("eval_").rpartition("/")[2].replace("_", " ")
            panel.plot(*zip(*lines[name], strict=True), label=label, color=colour, linewidth=1.3)
        panel.set_title(title, loc="left", fontsize=9)
        if len(names) > 1:
            panel.legend(frameon=False, fontsize=7)
    for panel in axes[len(panels) :]:
        panel.set_axis_off()
    for panel in axes[max(0, len(panels) - 2) : len(panels)]:
        panel.set_xlabel("step")
    return figure
