"""A checkpoint's weights without its training, its losses on held-out data, and where these are written."""

from __future__ import annotations

import contextlib
import json
import math
import os
import random
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import contract
from checkpoint_lib import evaluations

from . import file_locks, phase
from .config import ConfigError
from .finished import write_atomically
from .output import is_main, say

_LARGEST = 700.0  # the loss above which its perplexity is no float
_SAYS = ("paths", "file_pattern", "path_or_dataset_id", "splits_to_build", "split", "seq_length", "num_val_samples")
RESULT = "evaluation.json"  # in the directory of the evaluation's own run
_LOCK = ".lock"  # beside the results of a run's checkpoints, held by who adds one to a file
_LOCK_MODE = 0o666  # less the umask: a run may be a group's
_PATIENCE_S = 60.0  # for another evaluation, which holds it for milliseconds
_LOOKS, _LOOK_S = 5, (0.2, 0.6)  # without a lock: how often, and after how many seconds, what was written is looked at
_SECTION = "validation_dataset"

Result = dict[str, Any]


def load_weights_only(recipe: Any, checkpoint: Path | None) -> None:
    """Have the set-up of `recipe` load the weights of a checkpoint, complete as it must be, and nothing else of it.

    Its optimizer would take as much memory as in training, and its data loader's state wants the same number of ranks.
    None: the model's own weights stay, and no checkpoint is looked for.
    """
    from checkpoint_lib.faults import find_faults, in_short
    from checkpoint_lib.resume import CannotResume, from_rank_0

    def load(restore_from: str | None = None) -> None:
        if checkpoint is None:
            return

        def faults() -> list[str]:
            try:
                return list(find_faults(checkpoint))
            except OSError as error:
                return [error.strerror or str(error)]

        found = from_rank_0(faults)
        if found:
            raise CannotResume(f"{checkpoint} cannot be evaluated: {in_short(found)}")
        say(f"Loading the weights of {checkpoint}")
        recipe.checkpointer.load_model(recipe.model_parts, str(checkpoint / "model"))

    recipe.load_checkpoint = load


def hold_out(recipe: Any, raw: Mapping[str, Any], step: int) -> list[Result]:
    """Of each held-out data set of the config `raw` its name, what it is, loss a token (in nats), perplexity, tokens.

    Each is told as AutoModel does.
    """
    import torch

    found = []
    phase.enter(contract.PHASE_VALIDATION)
    with torch.no_grad():
        for name, loader in recipe.val_dataloaders.items():
            told = recipe._run_validation_epoch(loader)
            told.step = step
            recipe.log_val_metrics(name, told, recipe.metric_logger_valid[name])
            loss, tokens = float(told.metrics["val_loss"]), int(told.metrics["num_label_tokens"])
            if not tokens:
                raise ConfigError(f"held out: {name}: no token has a label, so there is no loss ({_what(raw, name)})")
            perplexity = math.exp(loss) if loss < _LARGEST else math.inf
            say(f"held out: {name}: loss {loss:.4f}, perplexity {perplexity:,.2f}, {tokens:,} tokens")
            numbers = {"loss": loss, "perplexity": perplexity, "tokens": tokens}
            found.append({"name": name, "data": _what(raw, name), **numbers})
    for logger in recipe.metric_logger_valid.values():
        logger.close()
    return found


def record(results: list[Result], checkpoint: Path | None, step: int | None) -> None:
    """Write them, on rank 0: into the evaluation's own run and, of a checkpoint, into `evaluations/` beside it.

    A file of the checkpoint's keeps what other held-out data have given. A loss that is not finite is null.
    """
    if not is_main():
        return
    told = {"checkpoint": str(checkpoint) if checkpoint else None, "step": step, "time": time.time()}
    results = [{key: _finite(value) for key, value in one.items()} for one in results]
    run_dir = os.environ.get(contract.RUN_DIR_VAR)
    if run_dir:
        write_atomically(Path(run_dir, RESULT), _text({**told, "results": results}))
    if checkpoint is None:
        return
    path = evaluations.file(checkpoint)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _alone(path.with_name(_LOCK)) as held:
            _add(path, told, results)
        for _ in range(0 if held else _LOOKS):  # another one may have written meanwhile what it had read before
            time.sleep(random.uniform(*_LOOK_S))
            if not _missing(path, results):
                break
            _add(path, told, results)
    except OSError as error:  # another user's run: the result is in this one's, and in its log
        say(f"{path} cannot be written ({error.strerror}): `checkpoints` of that run does not show the result")


def _add(path: Path, told: Mapping[str, Any], results: list[Result]) -> None:
    """Beside those that are there.

    Raises:
        OSError: these cannot be read now, or the file cannot be written.
    """
    now = [_key(one) for one in results]
    others = [one for one in evaluations.read(path) if _key(one) not in now]
    write_atomically(path, _text({**told, "results": [*others, *results]}))


def _missing(path: Path, results: list[Result]) -> bool:
    there = [_key(one) for one in evaluations.read(path)]
    return any(_key(one) not in there for one in results)


@contextlib.contextmanager
def _alone(lock: Path) -> Iterator[bool]:
    """One evaluation at a time: each keeps what the others have written. Who may not open the lock goes without, as on
    a file system without locks."""
    with contextlib.ExitStack() as stack:
        held = False
        with contextlib.suppress(PermissionError):
            what = "results of another evaluation"
            held = stack.enter_context(file_locks.held(lock, what, _LOCK_MODE, _PATIENCE_S))
        yield held


def sections(raw: Mapping[str, Any]) -> dict[str, Any]:
    """The held-out data of a config by the names that AutoModel gives them; of two with one name it takes the later.

    AutoModel 0.7.0, _typed_config.py: RecipeConfig.validation_dataloaders.
    """
    return {_name(str(key)): value for key, value in raw.items() if str(key).startswith(_SECTION) and value}


def _name(key: str) -> str:
    rest = key.replace(_SECTION, "")
    return (rest[1:] if len(rest) > 1 and rest[0] in "_-." else rest) or "default"


def _what(raw: Mapping[str, Any], name: str) -> str:
    """The data of a section, so that losses on others are not taken for the same."""
    section = sections(raw).get(name)
    values = [section.get(key) for key in _SAYS] if isinstance(section, Mapping) else []
    return " ".join(value if isinstance(value, str) else json.dumps(value) for value in values if value is not None)


def _key(result: Result) -> tuple[Any, Any]:
    return result.get("name"), result.get("data")


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _text(value: dict[str, Any]) -> str:
    return json.dumps(value, indent=1) + "\n"
