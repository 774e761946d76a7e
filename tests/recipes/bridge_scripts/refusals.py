"""What is said of settings, one at a time on top of a config: refusals.py CONFIG -> one line of JSON, null for nothing.

The settings are those of test_bridge_runs.py.
"""

from __future__ import annotations

import json
import os
import sys

os.environ["HF_HUB_OFFLINE"] = "1"

from bridge_lib import container, cpu, order, recipe, stand_ins
from pretrain_lib.config import ConfigError

stand_ins.import_megatron()
cpu.apply()


def said(path: str, setting: str) -> str | None:
    """The message with which the setting is refused."""
    try:
        asked = order.take_apart(order.read(path, [setting]), "pretrain")
        container.build(asked)
        recipe.step_function(asked.step_func)
    except ConfigError as error:
        return str(error)
    return None


config, *settings = sys.argv[1:]
print(json.dumps({setting: said(config, setting) for setting in settings}))
