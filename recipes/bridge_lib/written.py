"""What Megatron-Bridge writes of its configuration: references to secrets, and not their values.

0.3.1 writes the resolved one into every checkpoint (run_config.yaml) and to logger.save_config_filepath, prints a
summary of it, and gives it to W&B and MLflow. All but the summary and MLflow's tags comes from
ConfigContainer.to_dict(), which nothing else calls. What reads run_config.yaml (instantiate) resolves `${oc.env:NAME}`
again.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

from pretrain_lib.trackers import as_written


def keep_secrets(config: Any, raw: Mapping[str, Any]) -> None:
    """Has `config` written as `raw`, which is the file's content, says it wherever that names a secret."""
    from megatron.bridge.training import config as module

    kind = type(config)
    kind.to_dict = _of_references(kind.to_dict, raw)
    module.print_rank_0 = _without_values(module.print_rank_0)


def _of_references(to_dict: Any, raw: Mapping[str, Any]) -> Any:
    @functools.wraps(to_dict)
    def told(self: Any) -> Any:
        return as_written(to_dict(self), raw)

    return told


def _without_values(say: Any) -> Any:
    @functools.wraps(say)
    def said(message: str, *args: Any, **kwargs: Any) -> None:
        say(as_written(message, None), *args, **kwargs)

    return said
