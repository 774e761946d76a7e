"""Imports Megatron-Bridge as a training does: its modules' byte code is there afterwards (scripts/setup.sh)."""

from __future__ import annotations

from . import stand_ins

stand_ins.import_megatron()
