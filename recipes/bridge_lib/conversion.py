"""A conversion of convert.py: what is asked for, from a config."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from checkpoint_lib import weights
from checkpoint_lib.choice import NoneComplete
from checkpoint_lib.faults import in_short
from checkpoint_lib.megatron import choice, faults
from pretrain_lib.config import ConfigError

from . import order

TO_HF, TO_MEGATRON = "megatron-to-hf", "hf-to-megatron"
_KEYS = ("direction", "source", "output", "step", "hf", "dtype", "trust_remote_code")
_DTYPES = ("float32", "bfloat16", "float16")
MADE_OF = "conversion.json"  # in the output: of what it was made
HF_CONFIG = "hf_config"  # beside the checkpoints of a run: what its recipe was given as the model's configuration


@dataclass(frozen=True)
class Conversion:
    """One conversion, its paths settled.

    Attributes:
        source: an iter_N directory of Megatron's; a directory of Hugging Face's or a hub id.
        hf: of megatron-to-hf, what tells of the model: a directory, a hub id or a configuration.
        dtype: a name in torch; None: as in the source.
    """

    direction: str
    source: str
    output: Path
    hf: str | Mapping[str, Any] | None = None
    dtype: str | None = None
    trust_remote_code: bool = False


def settle(config: Mapping[str, Any]) -> Conversion:
    """The conversion that a resolved config asks for.

    Raises:
        ConfigError: a key is missing, unknown, or has a value that it cannot have.
        NoneComplete: there are checkpoints, and none is complete.
    """
    unknown = sorted(set(config) - set(_KEYS))
    if unknown:
        raise ConfigError(f"{unknown[0]}: no such key; {order.valid(unknown[0], _KEYS)}")
    direction, dtype = config.get("direction"), config.get("dtype")
    if direction not in (TO_HF, TO_MEGATRON):
        raise ConfigError(f"direction={direction!r}: {order.valid(direction, (TO_HF, TO_MEGATRON))}")
    if dtype is not None and dtype not in _DTYPES:
        raise ConfigError(f"dtype={dtype!r}: {order.valid(dtype, _DTYPES)}")
    for key in ("source", "output"):
        if not isinstance(config.get(key), str) or not config[key]:
            raise ConfigError(f"{key} is missing: the path of a directory")
    trusted = config.get("trust_remote_code", False) is True
    output = Path(config["output"]).absolute()
    if direction == TO_MEGATRON:
        return Conversion(direction, config["source"], output, None, dtype, trusted)
    checkpoint = _checkpoint(Path(config["source"]), config.get("step"))
    return Conversion(direction, str(checkpoint), output, _model_of(config.get("hf"), checkpoint), dtype, trusted)


def _checkpoint(source: Path, step: Any) -> Path:
    if not source.is_dir():
        raise ConfigError(f"source={source}: there is no such directory")
    if step is not None:
        if isinstance(step, bool) or not isinstance(step, int) or step < 0:
            raise ConfigError(f"step={step!r}: expected a number of iterations")
        source = source / f"iter_{step:07d}"
    if faults.iteration(source) is None:
        found = choice.choose(source)
        if found.chosen is not None:
            return found.chosen
        if not found.damaged:
            raise ConfigError(f"source={source}: there is no checkpoint (iter_N) in it")
        source = next(iter(found.damaged))
    wrong = faults.find_faults(source)
    if wrong:
        raise NoneComplete(f"{source}: {'; '.join(wrong[:3])}")
    return source


def _model_of(written: Any, checkpoint: Path) -> str | Mapping[str, Any]:
    if isinstance(written, (str, Mapping)) and written:
        return written
    kept = checkpoint.parent / HF_CONFIG
    if (kept / "config.json").is_file():
        return str(kept)
    raise ConfigError(
        f"hf is missing, and there is no {HF_CONFIG}/config.json beside {checkpoint}: a directory with the model's "
        "config.json and tokenizer, or a hub id"
    )


def is_complete(conversion: Conversion) -> bool:
    """Whether an earlier attempt has written all of it: the output appears under its name when it is whole.

    Raises:
        ConfigError: there is something else, such as the weights of another checkpoint, or a part of them.
    """
    if not conversion.output.exists():
        return False
    wanted = "config.json" if conversion.direction == TO_HF else choice.LATEST_STATE
    if (conversion.output / wanted).is_file():
        _refuse_another(conversion)
        found = _faults(conversion)
        if found:
            raise ConfigError(
                f"output={conversion.output}: is not complete: {in_short(found)}; remove it, or name another directory"
            )
        return True
    if any(conversion.output.iterdir()):
        raise ConfigError(f"output={conversion.output}: there is something else in it; name another directory")
    return False


def _faults(conversion: Conversion) -> list[str]:
    """Of an output that has its name: a copy that was cut off, or what a machine's end has left of it."""
    if conversion.direction == TO_HF:
        return weights.find_faults(conversion.output)
    made = choice.named(conversion.output)
    return faults.find_faults(made) if made else [f"{choice.LATEST_STATE} names no checkpoint"]


def told(conversion: Conversion) -> str:
    """What MADE_OF in the output says."""
    return json.dumps(_made_of(conversion), indent=1) + "\n"


def _made_of(conversion: Conversion) -> dict[str, Any]:
    return {"direction": conversion.direction, "source": conversion.source, "dtype": conversion.dtype}


def _refuse_another(conversion: Conversion) -> None:
    try:
        present = json.loads((conversion.output / MADE_OF).read_text(encoding="utf-8"))
    except (OSError, ValueError):  # of an earlier version
        return
    wanted = _made_of(conversion)
    other = [key for key in wanted if isinstance(present, dict) and present.get(key) != wanted[key]]
    if other:
        says = ", ".join(f"{key} {present.get(key)} (now {wanted[key]})" for key in other)
        raise ConfigError(f"output={conversion.output}: holds another conversion: {says}; name another directory")
