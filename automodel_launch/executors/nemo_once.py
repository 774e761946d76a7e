"""What NeMo-Run does again for each experiment, though it always comes out the same, is done once a process.

Seen with nemo_run 0.11.1, where both are half of the CPU seconds of a batch script: each of the script's templates is
compiled whenever it is filled, twice a script; and for each Experiment the metadata of all installed packages are read,
for schedulers that one of them may bring to torchx. tests/executors/test_nemo.py fails when NeMo-Run no longer does so.
"""

from __future__ import annotations

import functools
from types import CodeType, SimpleNamespace
from typing import Any

import jinja2

_code: dict[tuple[Any, ...], CodeType] = {}


class _Environment(jinja2.Environment):
    """Of NeMo-Run's templates, which all have the default settings: only their text tells their code."""

    def compile(self, *source: Any, **how: Any) -> CodeType:  # type: ignore[override]
        key = (*source, *sorted(how.items()))
        if key not in _code:
            _code[key] = super().compile(*source, **how)
        return _code[key]


def remember() -> None:
    """Have NeMo-Run, which has been imported, remember both; of a version with other parts nothing is changed."""
    from nemo_run.core.execution import utils
    from nemo_run.run.torchx_backend import runner

    if getattr(utils, "jinja2", None) is jinja2:
        utils.jinja2 = SimpleNamespace(Environment=_Environment, FileSystemLoader=jinja2.FileSystemLoader)
    if factories := getattr(runner, "get_scheduler_factories", None):
        runner.get_scheduler_factories = functools.cache(factories)
