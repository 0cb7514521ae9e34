"""How many small faults in the code the tests notice: ``python -m tests.mutation --mutants 400``.

Every comparison, operation, constant, condition and return of a file is changed in turn, and the tests of that file
are run until one fails. A change that none of them notices is printed with its line. Lines that say "cost only" take a
shorter way to the same result, which no test can tell, and are left out. Of all possible changes some are drawn, from
each file as its size has it. Each is tried in a forked process that has the libraries loaded already, which
makes it cost what the tests cost and no more.
"""

import argparse
import ast
import contextlib
import copy
import importlib
import importlib.abc
import importlib.machinery
import os
import random
import resource
import signal
import sys
import time
from pathlib import Path

from scipy.stats import binomtest

ROOT = Path(__file__).parent.parent
# A loop that no longer ends may ask for more and more.
MEMORY = 4 * 2**30
LAWS = [
    f"tests/kvar/test_{name}.py"
    for name in ("baseline_laws", "baselines", "kernel_baseline", "rivals", "adaptive", "features")
]
INPUT = ["tests/kvar/test_any_input.py", "tests/kvar/test_bad_arguments.py"]
DAMAGE = "tests/kvar/test_state.py"
# What the names of a file's tests hold, beside those that try everything.
EVERYTHING = "hand or edges or wrong or bad or table or forward or empty or damaged or number"
WORDS = {
    "adaptive": "adaptive or feature or plain_loop or ingredient or look or weights or uncertainty",
    "base": "",
    "basis": "basis",
    "batch_level": "none or batch-mean or running-mean or falls_back",
    "buffer": "buffer",
    "discounted_beta": "discounted or spo or faded",
    "empirical_bayes": "empirical",
    "group": "group or leave",
    "james_stein": "james",
    "kalman": "kalman or flow",
    "kernel": "kernel or standard_error or line or window or degree or visits or drift or very_step",
    "oracle": "oracle",
    "within_group": "krpo or opo",
}
TARGETS = {
    "kvar/kernels.py": ["tests/kvar/test_kernels.py"],
    "kvar/history/visits.py": [
        "tests/kvar/test_history.py",
        *LAWS,
        DAMAGE,
        "-k",
        f"history or {WORDS['kernel']} or {EVERYTHING}",
    ],
}
for name, words in WORDS.items():
    chosen = ["-k", f"{words} or {EVERYTHING}"] if words else []
    TARGETS[f"kvar/baselines/{name}.py"] = [*LAWS, *INPUT, DAMAGE, *chosen]
COMPARISONS = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
}
OPERATIONS = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.Pow: ast.Mult,
    ast.Mod: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
}


def mutants(source):
    """Every changed copy of a module, with the line and what was changed."""
    tree = ast.parse(source)
    cost_only = {number for number, line in enumerate(source.splitlines(), 1) if line.endswith("# cost only")}
    spoken = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    raised = [node for node in ast.walk(tree) if isinstance(node, ast.Raise)]
    spoken |= {id(inner) for node in raised for inner in ast.walk(node)}
    annotations = [getattr(node, name, None) for node in ast.walk(tree) for name in ("annotation", "returns")]
    spoken |= {id(inner) for node in annotations if node for inner in ast.walk(node)}
    # How an object looks when it is printed, and that it is guarded against being changed, is not what it does.
    flags = [
        node for node in ast.walk(tree) if isinstance(node, ast.keyword) and node.arg in ("repr", "compare", "frozen")
    ]
    spoken |= {id(flag.value) for flag in flags}
    for index, node in enumerate(ast.walk(tree)):
        if (
            id(node) in spoken
            or getattr(node, "lineno", 0) in cost_only
            or (
                isinstance(node, ast.BinOp)
                and isinstance(node.left, ast.Constant | ast.JoinedStr)
                and isinstance(getattr(node.left, "value", None), str)
            )
        ):
            continue
        for what, change in changes(node):
            changed = copy.deepcopy(tree)
            change(next(other for k, other in enumerate(ast.walk(changed)) if k == index))
            yield node.lineno, what, changed


def changes(node):
    """What can be done to one node, each as a description and a function of its copy."""
    if isinstance(node, ast.Compare):
        for k, operator in enumerate(node.ops):
            new = COMPARISONS[type(operator)]

            def compare(other, k=k, new=new):
                other.ops[k] = new()

            yield f"{type(operator).__name__} to {new.__name__}", compare
    elif isinstance(node, (ast.BinOp, ast.AugAssign)) and type(node.op) in OPERATIONS:
        new = OPERATIONS[type(node.op)]

        def operate(other):
            other.op = new()

        yield f"{type(node.op).__name__} to {new.__name__}", operate
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        yield "minus to plus", lambda other: setattr(other, "op", ast.UAdd())
    elif isinstance(node, ast.BoolOp):
        new = ast.Or if isinstance(node.op, ast.And) else ast.And
        yield f"{type(node.op).__name__} to {new.__name__}", lambda other: setattr(other, "op", new())
    elif isinstance(node, ast.Constant) and type(node.value) in (int, float):
        yield f"{node.value} to {node.value + 1}", lambda other: setattr(other, "value", node.value + 1)
    elif isinstance(node, ast.Constant) and type(node.value) is bool:
        yield f"{node.value} to {not node.value}", lambda other: setattr(other, "value", not node.value)
    elif isinstance(node, (ast.If, ast.IfExp)):
        yield "condition to True", lambda other: setattr(other, "test", ast.Constant(True))
        yield "condition to False", lambda other: setattr(other, "test", ast.Constant(False))
    elif isinstance(node, ast.Return) and node.value is not None:
        yield "return of nothing", lambda other: setattr(other, "value", ast.Constant(None))


class Changed(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Serves a changed module in place of the one on the disk."""

    def __init__(self, name, path, tree):
        self.name, self.path, self.tree = name, path, tree

    def find_spec(self, name, path=None, target=None):
        if name == self.name:
            return importlib.machinery.ModuleSpec(name, self, origin=str(self.path))
        return None

    def exec_module(self, module):
        module.__file__ = str(self.path)
        exec(compile(ast.fix_missing_locations(self.tree), self.path, "exec"), module.__dict__)


def survives(path, tree, tests, patience):
    """Whether all tests pass on a changed module."""
    child = os.fork()
    if child == 0:
        import pytest

        with contextlib.suppress(BaseException), open(os.devnull, "w") as nowhere:
            os.dup2(nowhere.fileno(), 1)
            os.dup2(nowhere.fileno(), 2)
            signal.alarm(patience)
            resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
            name = str(Path(path).with_suffix("")).replace("/", ".")
            sys.meta_path.insert(0, Changed(name, ROOT / path, tree))
            os._exit(int(pytest.main(["-x", "-q", "-p", "no:cacheprovider", *tests]) == 0))
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 1


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", nargs="*", default=list(TARGETS), help="; ".join(TARGETS))
    parser.add_argument("--mutants", type=int, default=400, help="how many are drawn")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    os.chdir(ROOT)
    # A change that only one example in a hundred brings to light counts as not noticed.
    os.environ["HYPOTHESIS_PROFILE"] = "few"
    # Loaded once for all; nothing of kvar is, so that each child imports the changed file.
    for library in ("pytest", "scipy.special", "torch"):
        importlib.import_module(library)

    possible = [(path, *one) for path in options.files for one in mutants(Path(path).read_text())]
    drawn = random.Random(options.seed).sample(range(len(possible)), min(options.mutants, len(possible)))
    n_tried = n_noticed = 0
    for path in options.files:
        start = time.time()
        assert survives(path, ast.parse(Path(path).read_text()), TARGETS[path], 600), f"{path} fails as it is"
        patience = int(10 * (time.time() - start)) + 10
        tried = [possible[k] for k in sorted(drawn) if possible[k][0] == path]
        survivors = [(line, what) for _, line, what, tree in tried if survives(path, tree, TARGETS[path], patience)]
        n_tried, n_noticed = n_tried + len(tried), n_noticed + len(tried) - len(survivors)
        print(f"{path}: {len(tried) - len(survivors)} of {len(tried)} changes noticed", flush=True)
        for line, what in survivors:
            print(f"  line {line}: {what}", flush=True)
    interval = binomtest(n_noticed, n_tried).proportion_ci()
    print(
        f"{n_noticed} of {n_tried} noticed, drawn from {len(possible)} possible (seed {options.seed}): "
        f"{n_noticed / n_tried:.1%}, 95 % interval {interval.low:.1%} to {interval.high:.1%}"
    )


if __name__ == "__main__":
    main()
