"""What NeMo-Run does again for each experiment, though it always comes out the same, is done once a process.

Seen with nemo_run 0.11.1, where both are half of the CPU seconds of a batch script: each of the script's templates is
compiled whenever it is filled, twice a script; and for each Experiment the metadata of all installed packages are read,
for schedulers that one of them may bring to torchx. tests/executors/test_nemo.py fails when NeMo-Run no longer does so.
"""

from __future__ import annotations

import functools
import importlib
from types import CodeType
from typing import Any

_code: dict[tuple[Any, ...], CodeType] = {}


class _Jinja:
    """jinja2 as NeMo-Run's templates use it; imported with the first of them, since a local launch fills none."""

    def __getattr__(self, name: str) -> Any:
        return _environment() if name == "Environment" else getattr(importlib.import_module("jinja2"), name)


@functools.cache
def _environment() -> Any:
    import jinja2

    class Environment(jinja2.Environment):
        """Of NeMo-Run's templates, which all have the default settings: only their text tells their code."""

        def compile(self, *source: Any, **how: Any) -> CodeType:  # type: ignore[override]
            key = (*source, *sorted(how.items()))
            if key not in _code:
                _code[key] = super().compile(*source, **how)
            return _code[key]

    return Environment


def remember() -> None:
    """Have NeMo-Run, which has been imported, remember both; of a version with other parts nothing is changed."""
    from nemo_run.core.execution import utils
    from nemo_run.run.torchx_backend import runner

    if getattr(getattr(utils, "jinja2", None), "__name__", None) == "jinja2":  # the module, or what stands in for it
        utils.jinja2 = _Jinja()
    if factories := getattr(runner, "get_scheduler_factories", None):
        runner.get_scheduler_factories = functools.cache(factories)
