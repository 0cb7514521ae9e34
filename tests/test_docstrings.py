"""What is public says what it takes, returns and raises; what is not says what it does, in few words."""

import ast
import dataclasses
import importlib
import inspect
from pathlib import Path

import pytest

import kvar
import kvar.theory
import kvar.variance
from kvar.smoothing.inference import Inference

numpydoc = pytest.importorskip("numpydoc.validate")

ROOT = Path(__file__).parent.parent
CHECKS = {
    *("GL01", "GL02", "GL03", "GL05", "GL06", "GL07", "PR01", "PR02", "PR03", "PR04", "PR05", "PR10"),
    *("RT03", "SS01", "SS02", "SS04"),
}
WITH_EXAMPLES = [
    *("make_baseline", "Baseline", "Trace", "TraceWriter", "read_trace", "write_trace", "replay", "audit"),
    *("KernelRegressor", "select_bandwidth", "get_kernel", "score_norm_from_logprobs", "baseline_names"),
    *("AuditReport", "RunsReport", "audit_runs", "prompt_values", "BandwidthSelection", "Kernel", "kernel_names"),
]


def public_names():
    """Every public function and class, and the methods that a class adds to its bases."""
    modules = (kvar, kvar.theory, kvar.variance)
    things = [getattr(module, name) for module in modules for name in module.__all__]
    yield from (f"{thing.__module__}.{thing.__qualname__}" for thing in things if callable(thing))
    # `Inference` is the other half of `KernelRegressor`.
    for thing in filter(inspect.isclass, [*things, Inference]):
        for method, body in vars(thing).items():
            inherited = any(hasattr(base, method) for base in thing.__mro__[1:])
            if inspect.isfunction(body) and not method.startswith("_") and not inherited:
                yield f"{thing.__module__}.{thing.__qualname__}.{method}"


@pytest.mark.parametrize("name", sorted(set(public_names())))
def test_a_public_docstring_is_complete(name):
    found = numpydoc.validate(name)
    # The fields of a dataclass are its attributes.
    checks = CHECKS - {"PR01", "PR02"} if "Attributes\n---" in found["docstring"] else CHECKS
    wrong = [(code, text) for code, text in found["errors"] if code in checks]
    assert not wrong


@pytest.mark.parametrize("name", WITH_EXAMPLES)
def test_a_main_name_has_an_example(name):
    # pytest runs them.
    assert ">>> " in inspect.getdoc(getattr(kvar, name))


@pytest.mark.parametrize("package", ["kvar", "llm_train", "simulations", "paper_figures"])
def test_a_private_docstring_has_no_sections(package):
    for path in sorted((ROOT / package).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            private = isinstance(node, ast.FunctionDef) and node.name.startswith("_")
            text = (ast.get_docstring(node) or "") if private else ""
            assert "Parameters\n---" not in text, f"{path}:{node.lineno}"
            assert "Returns\n---" not in text, f"{path}:{node.lineno}"


def test_the_trainer_documents_its_settings():
    pytest.importorskip("trl")
    text = inspect.getdoc(importlib.import_module("llm_train").KAEConfig)
    for setting in dataclasses.fields(importlib.import_module("llm_train.trainer.baseline_settings").BaselineSettings):
        assert setting.name in text
