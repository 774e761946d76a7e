"""A model's Hugging Face configuration: from the config or a directory, then from the hub; no long silence offline."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_OFFLINE = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")


class Unavailable(ValueError):
    """The hub does not give it, and will not at the next attempt either; the message says what helps."""


class Unreached(OSError):
    """The hub did not answer; it may at a later attempt."""


def install(named: Mapping[str, Any]) -> list[Any]:
    """Have Megatron-Bridge 0.3.1 find the configurations of `named` where it would ask the hub.

    Returns a list that grows by each configuration that it asks for from now on.

    Its only way to a configuration without weights is safe_load_config_with_retry, which takes AutoConfig from its own
    module. Where the hub does not answer, that function sleeps 7 s in all and then tells of a missing config.json.
    """
    from megatron.bridge.models.hf_pretrained import safe_config_loader

    transformers_own = safe_config_loader.AutoConfig
    places = {name: value if isinstance(value, str) else _written(name, value) for name, value in named.items()}

    asked: list[Any] = []

    class LocalFirst:
        """In place of transformers.AutoConfig in that one module."""

        @staticmethod
        def from_pretrained(path: Any, *args: Any, **kwargs: Any) -> Any:
            place = places.get(str(path), path)
            try:
                found = transformers_own.from_pretrained(place, *args, **kwargs)
                asked.append(found)
                return found
            except Exception as error:
                why = _why_not(str(path), error)
                if Path(str(place)).is_dir():
                    raise
                if why is None:
                    raise Unreached(f"the Hugging Face configuration of {path}: {error}") from error
                # "entry not found" ends the retries: there is no use in asking again
                raise Unavailable(f"{why} (entry not found)") from error

    safe_config_loader.AutoConfig = LocalFirst
    return asked


def _written(name: str, content: Any) -> str:
    """A directory of this process with the content as its config.json."""
    directory = Path(tempfile.mkdtemp(prefix="hf-config-")) / name.rpartition("/")[2]
    directory.mkdir()
    (directory / "config.json").write_text(json.dumps(content), encoding="utf-8")
    return str(directory)


def _why_not(name: str, error: Exception) -> str | None:
    """Why it will not come at a later attempt either, and what helps; None where it might."""
    text = str(error).lower()
    local = f"hf_configs: {{{name}: DIRECTORY}} names a directory with its config.json"
    asked = f"the Hugging Face configuration of {name} is needed"
    if any(os.environ.get(name, "").lower() in ("1", "true", "yes", "on") for name in _OFFLINE):
        return f"{asked} and the hub may not be asked (HF_HUB_OFFLINE), and its cache here does not have it; {local}"
    if "gated" in text or "401" in text or "403" in text:
        return f"{asked} and the hub refuses it: the model is gated or private; set HF_TOKEN, or {local}"
    if "404" in text or "not a valid model identifier" in text or "repository not found" in text:
        return f"{asked} and the hub has no such model; {local}"
    return None
