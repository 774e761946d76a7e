"""Stand-ins for packages that another one imports and that we hardly ever use."""

from __future__ import annotations

import contextlib
import importlib
import sys
from collections.abc import Iterator
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any


class _Empty(type):
    """A class in which every name is again such a class: `package.module.Class`, as a base of others, or in hints."""

    def __getattr__(cls, name: str) -> type:
        if name.startswith("__"):
            raise AttributeError(name)
        return _empty(name)


def _empty(name: str) -> type:
    return _Empty(name, (), {"__init__": lambda self, *_, **__: None})


class _StandIn(ModuleType):
    """Every name in it is an empty class while others are imported; afterwards it is that of the real module."""

    finder: _Finder

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # what the import system asks for
            raise AttributeError(name)
        if self.finder.stands_in:
            return _empty(name)
        return getattr(importlib.import_module(self.__name__), name)


class _Finder(MetaPathFinder, Loader):
    def __init__(self, packages: frozenset[str]) -> None:
        self._packages = packages
        self.stands_in = True

    def find_spec(self, fullname: str, path: object, target: object = None) -> ModuleSpec | None:
        return ModuleSpec(fullname, self, is_package=True) if self.covers(fullname) else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        module = _StandIn(spec.name)
        module.finder = self
        return module

    def exec_module(self, module: ModuleType) -> None:
        pass

    def covers(self, module: str) -> bool:
        return module.partition(".")[0] in self._packages


@contextlib.contextmanager
def of(*packages: str) -> Iterator[None]:
    """What is imported of the packages meanwhile is a stand-in; who imports them afterwards gets the real ones.

    A module that was imported meanwhile, and uses one of them as `package.name`, gets them too, when it does so.
    """
    finder = _Finder(frozenset(packages) - {name.partition(".")[0] for name in sys.modules})
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
        for name in filter(finder.covers, list(sys.modules)):
            del sys.modules[name]
        finder.stands_in = False
