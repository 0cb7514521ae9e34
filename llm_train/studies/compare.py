"""Methods against each other in training, at equal rollouts and over seeds.

The learning rate of each method is chosen on separate seeds, which are not reported. Finished runs are kept, so that a
comparison can be stopped, resumed and given more seeds.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from kvar.utils.atomic_files import atomic_write_text
from kvar.utils.progress import tracked
from llm_train.run.settings import given_settings, make_parser, resolve, rollouts_a_step, rollouts_before
from llm_train.run.train import quiet_libraries, train
from llm_train.studies import rivals  # noqa: F401  (registers further baselines)
from llm_train.studies.finished_runs import FinishedRun, read_finished, settings_that_count, write_finished
from llm_train.tasks.run_arguments import RunArguments

__all__ = ["Comparison", "choose_learning_rates", "perform"]

_TUNING = 1000  # the first seed that learning rates are chosen on
_LONGER = 4  # times that a grid of learning rates grows
_OF_THE_COMPARISON = {"learning_rate", "seed", "output_dir", "trace_dir", "resume"}


@dataclass(frozen=True)
class Comparison:
    """What is compared."""

    settings: dict  # Settings of every run
    methods: dict[str, dict]  # Further settings of each method
    seeds: int  # Number of reported seeds, counted from 0
    # Candidates, from which one is chosen for each method; a single one is used as it is.
    learning_rates: tuple[float, ...]
    tuning_seeds: int  # Number of separate seeds for this choice
    tuning_steps: int | None  # Steps of the runs for this choice; None for as many as in the others
    rate_of: dict[str, str]  # Methods that take the learning rate of another one
    reference: str  # The method that the others are compared with
    also_against: tuple[str, ...]  # Further methods, of which the table says how soon their end is reached
    measure: str  # The metric of the comparison; by default held-out accuracy, exact where the task has exact values

    @classmethod
    def from_file(cls, path: Path, flags: Sequence[str] = (), seeds: int | None = None) -> Comparison:
        """Read a comparison from a file, which may have its methods in another one."""
        config = yaml.safe_load(path.read_text())
        if isinstance(config, Mapping) and isinstance(config.get("methods"), str):
            config = {**config, "methods": yaml.safe_load((path.parent / config["methods"]).read_text())}
        return cls.from_config(config, flags, seeds)

    @classmethod
    def from_config(cls, config: Mapping, flags: Sequence[str] = (), seeds: int | None = None) -> Comparison:
        """Read a comparison from the content of a file and flags, and refuse one that is not at equal rollouts."""
        known = {
            "settings",
            "methods",
            "without",
            "also_against",
            "seeds",
            "learning_rates",
            "tuning_seeds",
            "tuning_steps",
            "rate_of",
            "reference",
            "measure",
        }
        if not isinstance(config, Mapping) or not isinstance(config.get("methods") or {}, Mapping):
            raise ValueError("a comparison is a file of 'name: value', and its methods are 'label: {setting: value}'")
        if unknown := set(config) - known:
            raise ValueError(f"a comparison has {', '.join(sorted(known))}; got {sorted(unknown)[0]!r}")
        if not config.get("methods"):
            raise ValueError("a comparison needs methods: 'label: {setting: value}'")
        parser = make_parser()
        settings = given_settings(parser, flags, config.get("settings", {}))
        methods = {label: given_settings(parser, (), method) for label, method in config["methods"].items()}
        for label in config.get("without", ()):
            if label not in methods:
                raise ValueError(f"without has {label!r}, which is none of the methods: {', '.join(methods)}")
            del methods[label]
        for label, method in methods.items():
            if own := _OF_THE_COMPARISON & method.keys():
                raise ValueError(f"{sorted(own)[0]!r} of method {label!r} is set by the comparison; leave it out there")
        if len(folders := {_folder_name(label): label for label in methods}) < len(methods):
            twin = next(label for label in methods if folders[_folder_name(label)] != label)
            raise ValueError(
                f"the runs of {twin!r} and {folders[_folder_name(twin)]!r} would share a folder: use labels that "
                "differ in letters or digits"
            )
        exact = RunArguments(task=settings.get("task", RunArguments.task)).is_exact
        rates = tuple(map(float, config.get("learning_rates") or ())) or (float(settings.get("learning_rate", 1e-6)),)
        n_seeds = int(config.get("seeds", 5)) if seeds is None else seeds
        ruled = {"seed": "seeds", "resume": "nothing: runs that are done are not made again"}
        if config.get("learning_rates"):
            ruled["learning_rate"] = "learning_rates"
        if own := sorted(ruled.keys() & settings.keys()):
            raise ValueError(f"{own[0]} of every run is set by the comparison; use {ruled[own[0]]}")
        if n_seeds < 1:
            raise ValueError(f"seeds must be 1 or more, got {n_seeds}")
        found = cls(
            settings=settings,
            methods=methods,
            seeds=n_seeds,
            learning_rates=rates,
            tuning_seeds=int(config.get("tuning_seeds", 2)),
            tuning_steps=config.get("tuning_steps"),
            rate_of=dict(config.get("rate_of", {})),
            reference=config.get("reference", next(iter(methods))),
            also_against=tuple(config.get("also_against", ())),
            measure=config.get("measure", "eval_held_out_pass@1" if exact else "eval_pass@1"),
        )
        if len(rates) > 1 and found.tuning_seeds < 1:
            raise ValueError("several learning_rates need tuning_seeds of 1 or more to choose among them")
        named = [("reference", found.reference), *(("also_against", also) for also in found.also_against)]
        for name, label in named + [("rate_of", label) for pair in found.rate_of.items() for label in pair]:
            if label not in methods:
                raise ValueError(f"{name} {label!r} is none of the methods: {', '.join(methods)}")
        if chain := found.rate_of.keys() & {*found.rate_of.values()}:
            raise ValueError(
                f"others take the learning rate of {sorted(chain)[0]!r}, which rate_of gives none of its own"
            )
        measured = found.measure.rpartition("pass@")
        wanted = ("eval_held_out_", "eval_train_") if exact else ("eval_",)
        rollouts = {}
        for label, method in methods.items():
            resolved = resolve({**settings, **method})
            if resolved.training.max_steps < 1:
                raise ValueError(
                    "a comparison needs max_steps, because the length of an epoch depends on num_generations"
                )
            passes = [str(k) for k in resolved.training.pass_at]
            if measured[0] not in wanted or measured[2] not in passes:
                names = ", ".join(f"{name}pass@{k}" for name in wanted for k in passes)
                raise ValueError(f"measure must be one of {names}, got {found.measure!r}; pass_at sets the numbers")
            before, per_step = rollouts_before(resolved), rollouts_a_step(resolved.training)
            steps = resolved.training.max_steps
            used = f"{before} before and {per_step:g} in each of {steps} steps"
            rollouts.setdefault(before + per_step * steps, {}).setdefault(used, []).append(label)
            if not resolved.training.eval_on_start or resolved.run.n_held_out == 0:
                raise ValueError(
                    f"a comparison evaluates {found.measure} from the start: it needs eval_steps and n_held_out above 0"
                )
        if len(rollouts) > 1:
            raise ValueError(
                "methods are compared at equal rollouts, but these differ: "
                + "; ".join(
                    f"{used} for {', '.join(labels)}" for by_use in rollouts.values() for used, labels in by_use.items()
                )
            )
        return found

    @property
    def folder(self) -> Path:
        """Folder of the comparison."""
        return Path(self.settings.get("output_dir", "results/compare"))

    def run_folder(self, label: str, rate: float, seed: int) -> Path:
        """Folder of one run."""
        return self.folder / "runs" / _folder_name(label) / f"lr-{rate:g}" / f"seed-{seed}"

    def given(self, label: str, rate: float, seed: int) -> dict:
        """Settings of one run."""
        folder = self.run_folder(label, rate, seed)
        runs = self.folder / "runs"
        traces = self.settings.get("trace_dir", runs)  # no two runs share one
        trace = traces and str(Path(traces, *folder.relative_to(runs).parts, "trace"))
        shorter = {"max_steps": self.tuning_steps} if self.tuning_steps and seed >= _TUNING else {}
        return {
            **self.settings,
            **self.methods[label],
            **shorter,
            "trace_dir": trace,
            "learning_rate": rate,
            "seed": seed,
            "output_dir": str(folder),
            "resume": True,
        }


def _folder_name(label: str) -> str:
    return re.sub(r"[^A-Za-z0-9.]+", "-", label).strip("-")


def _make_run(comparison: Comparison, key: tuple[str, float, int]) -> FinishedRun:
    """Make one run, or go on with it; called in a separate process."""
    quiet_libraries()
    folder, given = comparison.run_folder(*key), comparison.given(*key)
    if not (folder / "result.json").exists():
        train(resolve(given), show=False)
        # A comparison needs the curves only; the policies of all runs would fill the disk.
        shutil.rmtree(folder / "policy")
    return FinishedRun.of_folder(key, given, folder, comparison.measure)


def choose_learning_rates(scores: Mapping[str, Mapping[float, Sequence[float]]]) -> dict[str, float]:
    """The learning rate with the best mean score, for each method."""
    return {
        label: max(sorted(rates), key=lambda rate: sum(rates[rate]) / len(rates[rate]))
        for label, rates in scores.items()
    }


def perform(comparison: Comparison, jobs: int = 1) -> dict[str, float]:
    """Make all unfinished runs, and return the learning rate chosen for each method."""
    chosen = dict.fromkeys(comparison.methods, comparison.learning_rates[0])
    if len(comparison.learning_rates) > 1:
        scores = _tuned(comparison, jobs)
        scores |= {label: scores[other] for label, other in comparison.rate_of.items()}
        chosen = choose_learning_rates(scores)
        kept = {label: {"chosen": chosen[label], "scores": scores[label]} for label in scores}
        atomic_write_text(comparison.folder / "learning_rates.json", json.dumps(kept, indent=2) + "\n")
    wanted = [(label, chosen[label], seed) for seed in range(comparison.seeds) for label in comparison.methods]
    _make_runs(comparison, wanted, jobs, "runs")
    return chosen


def _tuned(comparison: Comparison, jobs: int) -> dict[str, dict[float, list[float]]]:
    """Scores of every method at its learning rates, a grid that grows where the best lies at its end."""
    seeds = range(_TUNING, _TUNING + comparison.tuning_seeds)
    grids = {
        label: sorted(comparison.learning_rates) for label in comparison.methods if label not in comparison.rate_of
    }
    for _ in range(1 + _LONGER):
        wanted = [(label, rate, seed) for seed in seeds for label, rates in grids.items() for rate in rates]
        finished = _make_runs(comparison, wanted, jobs, "choosing learning rates")
        scores = {
            label: {rate: [finished[label, rate, seed].curve[-1] for seed in seeds] for rate in rates}
            for label, rates in grids.items()
        }
        grown = {label: _grown(grids[label], best) for label, best in choose_learning_rates(scores).items()}
        if grown == grids:
            break
        grids = grown
    return scores


def _grown(rates: list[float], best: float) -> list[float]:
    """The grid with one more rate, by the ratio of the last two, at the end where the best lies."""
    if best == rates[0]:
        return [float(f"{rates[0] ** 2 / rates[1]:.3g}"), *rates]
    return [*rates, float(f"{rates[-1] ** 2 / rates[-2]:.3g}")] if best == rates[-1] else rates


def _make_runs(comparison, wanted, jobs, title) -> dict[tuple[str, float, int], FinishedRun]:
    """All finished runs, with those that are wanted among them."""
    from joblib import Parallel, delayed

    finished = read_finished(comparison.folder)
    for key in wanted:
        if key in finished and finished[key].settings != (given := settings_that_count(comparison.given(*key))):
            before = finished[key].settings
            changed = sorted(k for k in {*before, *given} if before.get(k) != given.get(k))
            raise ValueError(
                f"{comparison.folder} has a run of {key[0]!r} with another {changed[0]}: choose another --output_dir"
            )
    missing = [key for key in wanted if key not in finished]
    work = Parallel(n_jobs=jobs, return_as="generator_unordered")(
        delayed(_make_run)(comparison, key) for key in missing
    )
    for run in tracked(work, title, len(missing)):
        finished[run.key] = run
        write_finished(comparison.folder, finished)
    return finished
