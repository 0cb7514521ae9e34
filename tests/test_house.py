"""The house rules: imports point one way, the core stays light, what is exported exists."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import kvar

ROOT = Path(__file__).parent.parent
LAYERS = {
    "kvar": {"kvar"},
    "simulations": {"kvar", "simulations"},
    "llm_train": {"kvar", "llm_train"},
    "paper_figures": {"kvar", "simulations", "llm_train", "paper_figures"},
}
FILES = [path for folder in LAYERS for path in sorted((ROOT / folder).rglob("*.py"))]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_one_way(path):
    allowed = LAYERS[path.relative_to(ROOT).parts[0]]
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno} imports by a relative path"
            names = [node.module]
        for name in names:
            top = name.partition(".")[0]
            assert top in allowed or top not in LAYERS, f"{path}:{node.lineno} must not import {name}"


def test_import_kvar_is_light():
    code = "import sys, kvar; print(*{name.partition('.')[0] for name in sys.modules})"
    loaded = set(
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    )
    heavy = {"torch", "matplotlib", "polars", "pandas", "sklearn", "numba", "rich", "typer", "array_api_compat"}
    assert "kvar" in loaded
    assert not loaded & heavy


def test_what_is_exported_exists():
    for name in kvar.__all__:
        assert hasattr(kvar, name)


def test_the_public_names_are_stable():
    stable = {"make_baseline", "baseline_names", "read_trace", "replay", "audit"}
    assert stable <= set(kvar.__all__)
    for method in ("estimate", "update", "advantages", "state_dict", "load_state_dict"):
        assert callable(getattr(kvar.Baseline, method))
