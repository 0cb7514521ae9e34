"""Stand-ins for packages that need a GPU, so that a trainer's own code around advantages can be imported."""

import importlib.abc
import importlib.machinery
import importlib.util
import sys
from types import ModuleType
from unittest.mock import MagicMock


class _Anything(ModuleType):
    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return MagicMock(name=name)


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def __init__(self, packages):
        self.packages = packages

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in self.packages:
            return importlib.machinery.ModuleSpec(name, self, is_package=True)
        return None

    def create_module(self, spec):
        return _Anything(spec.name)

    def exec_module(self, module):
        pass


def stand_in_for(*packages):
    """Let packages that are not installed be imported, with whatever one asks of them."""
    sys.meta_path.append(_Finder({name for name in packages if importlib.util.find_spec(name) is None}))
