"""The house rules: imports point one way and never in a circle, the core stays light, files stay short."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import kvar

ROOT = Path(__file__).parent.parent
# Each place may import from those before it and, if it is a folder, from itself. What no entry names comes last.
ORDER = {
    "kvar": [
        *("_version", "utils", "kernels", "theory", "intervals", "score_norms", "rollouts", "history", "online"),
        *("smoothing", "baselines", "prompt_draws", "replaying", "variance", "readers"),
        *("plotting", "auditing", "commands"),
    ],
    "simulations": ["harness", "bandit", "studies"],
    "llm_train": [
        "json_settings",
        "secret_settings",
        "policy",
        "tasks",
        "trainer",
        "run",
        "studies",
        "commands",
        "plugins",
    ],
    "paper_figures": [],
}
PACKAGES = {
    "kvar": {"kvar"},
    "simulations": {"kvar", "simulations"},
    "llm_train": {"kvar", "llm_train"},
    "paper_figures": {"kvar", "simulations", "llm_train", "paper_figures"},
}
FILES = [path for folder in PACKAGES for path in sorted((ROOT / folder).rglob("*.py"))]
# Longer files carry their reason in their first docstring.
LONGEST = 400


def module_of(path):
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


MODULES = {module_of(path): path for path in FILES}


def imports(path):
    """Modules of ours that a file imports, wherever in it, with the lines on which it does."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno} imports by a relative path"
            found = [f"{node.module}.{alias.name}" for alias in node.names]
            found = [name if name in MODULES else node.module for name in found]
        else:
            continue
        for name in found:
            if name.partition(".")[0] in PACKAGES:
                yield node.lineno, name


def rank(module):
    """Place of a module in its package, from below."""
    package, _, rest = module.partition(".")
    place = rest.partition(".")[0]
    order = ORDER[package]
    return order.index(place) if place in order else len(order)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_one_way(path):
    module = module_of(path)
    package = module.partition(".")[0]
    for line, name in imports(path):
        top = name.partition(".")[0]
        assert top in PACKAGES[package], f"{path}:{line} must not import {name}"
        if top == package and name != package:
            assert rank(name) <= rank(module), f"{path}:{line} imports {name}, which stands above it"


def test_no_imports_run_in_a_circle():
    arrows = {module: {name for _, name in imports(path)} - {module} for module, path in MODULES.items()}
    while free := [module for module, targets in arrows.items() if not targets & arrows.keys()]:
        for module in free:
            del arrows[module]
    assert not arrows, f"these import each other: {', '.join(arrows)}"


def test_the_root_of_kvar_is_small():
    assert len(list((ROOT / "kvar").glob("*.py"))) <= 10


def test_files_are_short():
    sizes = sorted(len(path.read_text().splitlines()) for path in FILES)
    assert sizes[len(sizes) // 2] <= 130
    for path in FILES:
        if len((text := path.read_text()).splitlines()) > LONGEST:
            assert "Longer than" in ast.get_docstring(ast.parse(text)), f"{path} is long and gives no reason"


def test_import_kvar_is_light():
    code = "import sys, kvar; print(*{name.partition('.')[0] for name in sys.modules})"
    loaded = set(
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    )
    heavy = {"torch", "matplotlib", "polars", "pandas", "narwhals", "sklearn", "statsmodels", "numba", "rich", "typer"}
    assert "kvar" in loaded
    assert not loaded & (heavy | {"array_api_compat"})


def test_what_is_exported_exists():
    for name in kvar.__all__:
        assert hasattr(kvar, name)
