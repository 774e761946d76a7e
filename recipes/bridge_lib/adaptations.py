"""What Megatron-Bridge 0.3.1 needs of its surroundings where it was installed with pip, on any machine."""

from __future__ import annotations

import importlib.util


def keep_compiled_helpers() -> None:
    """Do not have make called in site-packages for what lies there compiled.

    megatron-core 0.16.1: initialize_megatron calls compile_helpers(), which runs `make` in its package's directory and
    exits the process where that fails. The wheel has helpers_cpp.so and no Makefile, so it fails always. Images that
    hold the sources are left as they are: without helpers_cpp there is something to compile.
    """
    from megatron.bridge.training import initialize

    if importlib.util.find_spec("megatron.core.datasets.helpers_cpp") is not None:
        initialize.compile_helpers = _there_already


def _there_already() -> None:
    """In place of compile_helpers."""
