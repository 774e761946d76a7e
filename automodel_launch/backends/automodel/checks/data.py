"""Checks of files that a config names, from one probe a plan: on this machine, or by a question to the cluster."""

from __future__ import annotations

from automodel_launch.backends.automodel.checks.blends import splits
from automodel_launch.backends.automodel.checks.directories import writable
from automodel_launch.backends.automodel.checks.ids import context, vocabulary, width
from automodel_launch.backends.automodel.checks.nanogpt import completely_read, enough
from automodel_launch.backends.automodel.checks.phases import samples
from automodel_launch.backends.automodel.checks.repeats import held_out
from automodel_launch.backends.automodel.checks.schedule import epochs
from automodel_launch.backends.automodel.checks.shards import bos, megatron, nanogpt
from automodel_launch.backends.automodel.checks.tokenizers import folders, of_the_data
from automodel_launch.backends.automodel.data import request
from automodel_launch.backends.data import facts

LOOK = facts.Look(
    request.of,
    (
        *(megatron, nanogpt, bos, splits, enough, completely_read, epochs, held_out, samples),
        *(vocabulary, width, context),
        *(folders, of_the_data, writable),
    ),
)

CHECKS = (LOOK.here,)
