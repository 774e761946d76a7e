"""Takes a NeMo AutoModel pretraining job from a laptop or login node to where it runs, and sees it through.

From Python: `plan`, `check`, `submit`, `job`, `jobs` and `Job` (automodel_launch.api), `sweep` and `pipeline`
(automodel_launch.api_sets). They are imported at their first use, so that `import automodel_launch` costs nothing.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from automodel_launch.api import Job, check, job, jobs, plan, submit
    from automodel_launch.api_sets import pipeline, sweep

__version__ = "0.1.0"
__all__ = ["Job", "__version__", "check", "job", "jobs", "pipeline", "plan", "submit", "sweep"]
_OF_SETS = ("pipeline", "sweep")


def __getattr__(name: str) -> Any:
    if name in _OF_SETS:
        from automodel_launch import api_sets

        return getattr(api_sets, name)
    if name in __all__:
        from automodel_launch import api

        return getattr(api, name)
    raise AttributeError(f"module 'automodel_launch' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])


class _Wing(ModuleType):
    """plan/ and jobs/ are packages, and functions of the API have the same names: the packages can be called."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        from automodel_launch import api

        return getattr(api, self.__name__.rpartition(".")[2])(*args, **kwargs)


class _Package(ModuleType):
    def __setattr__(self, name: str, value: Any) -> None:
        if name in ("plan", "jobs") and isinstance(value, ModuleType):  # the import system does that
            value.__class__ = _Wing
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
