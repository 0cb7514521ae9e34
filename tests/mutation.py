"""How many small faults in the code the tests notice: ``python -m tests.mutation --seconds 900``.

Every comparison, operation, constant, condition and return of a file is changed in turn, and the tests of that file
are run until one fails. A change that none of them notices is printed with its line. Each change is tried in a forked
process that has the libraries loaded already, which makes it cost what the tests cost and no more.
"""

import argparse
import ast
import contextlib
import copy
import importlib.abc
import importlib.machinery
import os
import random
import signal
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent
LAWS = "tests/kvar/test_baselines.py"
DAMAGE = "tests/kvar/test_state.py::test_a_damaged_state_is_refused_or_harmless"
TARGETS = {
    "kvar/kernels.py": ["tests/kvar/test_kernels.py"],
    "kvar/history.py": ["tests/kvar/test_history.py", DAMAGE],
    "kvar/baselines/group.py": [LAWS, "tests/kvar/test_rivals.py", "-k", "group or leave or hand or james or absent"],
    "kvar/baselines/kernel.py": [
        LAWS,
        "tests/kvar/test_adaptive.py",
        DAMAGE,
        "-k",
        "kernel or damaged or error or line",
    ],
}
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


def mutants(tree):
    """Every changed copy of a module, with the line and what was changed."""
    spoken = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    raised = [node for node in ast.walk(tree) if isinstance(node, ast.Raise)]
    spoken |= {id(inner) for node in raised for inner in ast.walk(node)}
    annotations = [getattr(node, name, None) for node in ast.walk(tree) for name in ("annotation", "returns")]
    spoken |= {id(inner) for node in annotations if node for inner in ast.walk(node)}
    for index, node in enumerate(ast.walk(tree)):
        if id(node) in spoken or (
            isinstance(node, ast.BinOp)
            and isinstance(node.left, ast.Constant | ast.JoinedStr)
            and isinstance(getattr(node.left, "value", None), str)
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
            name = str(Path(path).with_suffix("")).replace("/", ".")
            sys.meta_path.insert(0, Changed(name, ROOT / path, tree))
            os._exit(int(pytest.main(["-x", "-q", "-p", "no:cacheprovider", *tests]) == 0))
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 1


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", nargs="*", default=list(TARGETS), help="; ".join(TARGETS))
    parser.add_argument("--seconds", type=float, default=900, help="for all files together")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    os.chdir(ROOT)
    # Loaded once for all; nothing of kvar is, so that each child imports the changed file.
    import torch  # noqa: F401

    for path in options.files:
        todo = list(mutants(ast.parse(Path(path).read_text())))
        random.Random(options.seed).shuffle(todo)
        end, tried, survivors = time.time() + options.seconds / len(options.files), 0, []
        start = time.time()
        assert survives(path, ast.parse(Path(path).read_text()), TARGETS[path], 600), f"{path} fails as it is"
        patience = int(10 * (time.time() - start)) + 10
        for line, what, tree in todo:
            if time.time() > end:
                break
            tried += 1
            if survives(path, tree, TARGETS[path], patience):
                survivors.append((line, what))
        print(f"{path}: {tried - len(survivors)} of {tried} changes noticed, of {len(todo)} possible", flush=True)
        for line, what in sorted(survivors):
            print(f"  line {line}: {what}", flush=True)


if __name__ == "__main__":
    main()
