"""The names that outside code relies on, with the parameters that it may pass."""

import inspect
from typing import get_args

import numpy as np
import pytest

import kvar
from kvar import baselines
from kvar.kernels import KernelName
from kvar.prompt_draws import DRAWS
from kvar.readers.layouts import LayoutName, layout_names
from kvar.smoothing.bandwidth import BandwidthMethod, bandwidth_methods

SIGNATURES = {
    "make_baseline": ["name"],
    "baseline_names": [],
    "Baseline.estimate": ["prompt_ids", "rewards", "step", "return_info"],
    "Baseline.update": ["prompt_ids", "rewards", "step"],
    "Baseline.advantages": ["prompt_ids", "rewards", "step"],
    "Baseline.state_dict": [],
    "Baseline.load_state_dict": ["state"],
    "read_trace": ["path", "format"],
    "write_trace": ["trace", "path"],
    "replay": ["trace", "name"],
    "audit": ["trace", "baselines", "progress"],
    "AuditReport.save": ["folder"],
    "KernelRegressor": ["kernel", "bandwidth", "degree", "sided"],
    "KernelRegressor.fit": ["x", "y"],
    "KernelRegressor.predict": ["x0"],
    "KernelRegressor.loo_predict": [],
    "score_norm_from_logprobs": ["logprobs", "mask"],
    "select_bandwidth": ["x", "y", "method", "kernel", "degree"],
    "TraceWriter": ["folder", "resume_from"],
    "TraceWriter.write": ["step", "columns"],
}
BASELINES = {
    *("group-mean", "leave-one-out", "batch-mean", "running-mean", "none", "kernel", "discounted-beta", "james-stein"),
    *("empirical-bayes", "kalman", "adaptive", "oracle"),
}


@pytest.mark.parametrize("path", SIGNATURES)
def test_a_stable_name_takes_what_it_took(path):
    named = kvar
    for name in path.split("."):
        named = getattr(named, name)
    taken = inspect.signature(named).parameters
    assert [name for name in taken if name in SIGNATURES[path]] == SIGNATURES[path]
    # Nothing that is new may have to be given.
    for name, parameter in taken.items():
        variable = parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
        assert name in (*SIGNATURES[path], "self") or variable or parameter.default is not parameter.empty, name


def test_the_baselines_of_the_first_day_are_there():
    assert set(kvar.baseline_names()) >= BASELINES


def test_results_have_their_names(rng):
    x = np.linspace(0, 1, 30)
    chosen = kvar.select_bandwidth(x, x + rng.normal(size=30), method="loo-cv", kernel="epanechnikov", degree=0)
    assert chosen.bandwidth > 0
    assert len(chosen.grid) == len(chosen.scores)
    columns = {"step": [0, 0, 1, 1], "prompt_id": [0, 0, 0, 0], "reward": [0.0, 1.0, 1.0, 1.0]}
    report = kvar.audit(kvar.Trace.from_columns(columns), baselines=["kernel", "none"])
    assert report.recommendation
    assert len(report.table) == 2


def test_the_trainer_is_one_of_trl():
    trl = pytest.importorskip("trl")
    from llm_train import KAEConfig, KAETrainer

    assert issubclass(KAETrainer, trl.GRPOTrainer)
    assert issubclass(KAEConfig, trl.GRPOConfig)
    assert KAEConfig(output_dir="unused", num_generations=1, use_cpu=True, bf16=False).num_generations == 1


def test_type_checkers_know_the_registered_names():
    own = {name for name in kvar.baseline_names() if baselines.baseline_class(name).__module__.startswith("kvar.")}
    assert set(get_args(baselines.BaselineName)) == own | set(baselines._ALIASES)
    assert set(get_args(KernelName)) == set(kvar.kernel_names())
    assert set(get_args(BandwidthMethod)) == set(bandwidth_methods())
    assert list(get_args(LayoutName)) == layout_names()


def test_type_checkers_know_the_choices_of_the_trainer():
    pytest.importorskip("trl")
    from llm_train.policy.norm_names import OUTPUT_NORMS, SCORE_PARAMETERS
    from llm_train.trainer.baseline_settings import ORDERS, ORDERS_OF_RATES, SCORE_NORMS

    assert set(ORDERS) == {"epochs", "independent", *DRAWS}
    assert set(ORDERS_OF_RATES) == {*DRAWS} - {"importance"}
    assert set(SCORE_NORMS) == {"sampled", *OUTPUT_NORMS, *SCORE_PARAMETERS}
