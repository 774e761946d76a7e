"""Megatron-Bridge, imported once by whoever imports this; and whether that needs bridge_lib's stand-ins."""

from __future__ import annotations

import importlib

from bridge_lib import stand_ins
from pretrain_lib import collector


def _fails() -> bool:
    try:
        with collector.off():
            importlib.import_module("megatron.bridge.training.pretrain")
    except ImportError:
        return True
    return False


NEEDS_STAND_INS = _fails()
stand_ins.import_megatron()
