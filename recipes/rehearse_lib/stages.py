"""The stages of an attempt: what recipes/pretrain.py does from the configuration to the first step, and a bit more.

config       AutoModel's loader reads the configuration
recipe       the recipe class takes it
setup        its setup(): process groups, model, optimizer, data, schedulers
data         the first micro-batches
step         forward, backward, clipping and the optimizer's step
schedule     the learning rate at its turning points
validation   one batch of each validation data set
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
import yaml

from . import fakes, memory, outcomes, patches, places, result
from .failure import Fault
from .request import Request

_MICRO_BATCHES = 2  # the second one accumulates: what only the first allows is found
_STEPS_WITH_MEMORY = 2  # the first one makes the optimizer's state, the second one has it all the time


class Enough(Exception):
    """The last stage that was asked for is over."""


class Run:
    """One rank of a job, from its configuration on. What is found on the way stands in `notes` and `seconds`."""

    def __init__(
        self,
        request: Request,
        config: Mapping[str, Any],
        rank: int,
        scratch: Path,
        until: str | None,
        tell: Callable[[str], None],
    ) -> None:
        self.request, self.config, self.rank, self.scratch = request, config, rank, scratch
        self.stage = "start"
        self.seconds: dict[str, float] = {}
        self.notes: list[dict[str, Any]] = []
        self.memory: dict[str, int] | None = None
        self._until, self._tell = until, tell
        self.mode = fakes.Fakes(allow_non_fake_inputs=True)
        self.mode.spread, self.mode.cuda = _experts(config), request.cuda
        self.recipe: Any = None

    @contextlib.contextmanager
    def at(self, stage: str) -> Iterator[None]:
        """Be at a stage; its end may be the end of all."""
        self.stage = stage
        self._tell(stage)
        began = time.monotonic()
        yield
        self.seconds[stage] = round(time.monotonic() - began, 2)
        if stage == self._until:
            raise Enough

    def unwrapped(self, error: BaseException) -> BaseException:
        """What says something: AutoModel's words behind pretrain_lib's ConfigError, and behind an end without any.

        AutoModel 0.7.0, distributed/utils.py:183: a node's first rank ends by SystemExit where it makes a data set.
        """
        if (type(error).__name__ == "ConfigError" or isinstance(error, SystemExit)) and error.__cause__ is not None:
            return error.__cause__
        return error

    def all(self) -> None:
        """All stages, one after the other."""
        from pretrain_lib.adaptations import compute_in_autocast

        recipe_class, node = self._config()
        with self.at("recipe"):
            self.recipe = recipe_class(node)
            patches.of_recipe(self)
        peers = fakes.Peers()
        with self.at("setup"), peers:
            self.recipe.setup()
            compute_in_autocast(self.recipe)
        with self.at("data"):
            batches = self._batches()
        with self.at("step"):
            self._steps(peers, batches)
        with self.at("schedule"):
            self._schedule()
        with self.at("validation"), peers, self.mode:
            self._validate()

    def _config(self) -> tuple[type[Any], Any]:
        from pretrain_lib.config import load_config
        from pretrain_lib.recipe_class import resolve_recipe

        with self.at("config"):
            path = self.scratch / f"config-{self.rank}.yaml"
            path.write_text(yaml.safe_dump(dict(self.config), sort_keys=False))
            patches.before_config(self)
            recipe_class = resolve_recipe(self.config)
            _check_class(recipe_class)
            node = load_config(str(path))
            places.check(node, self.request.job_python)
            self._check_distributed(node)
            patches.of_config(self, node)
        return recipe_class, node

    def _check_distributed(self, node: Any) -> None:
        """What the real process group would say, which has no place in a rehearsal."""
        backend = node.get("dist_env.backend", "nccl")
        known = torch.distributed.Backend.backend_list
        if not isinstance(backend, str) or (backend.lower() not in known and ":" not in backend):
            raise Fault("ValueError", f"dist_env.backend is {backend!r}, and none of {known}", "dist_env.backend")
        minutes = node.get("dist_env.timeout_minutes", 1)
        if self.request.world_size > 1 and isinstance(minutes, (int, float)) and minutes <= 0:
            text = f"dist_env.timeout_minutes is {minutes}: the ranks could not wait for each other"
            raise Fault("DistNetworkError", text, "dist_env.timeout_minutes")

    def _batches(self) -> list[Any]:
        for part in self.recipe.model_parts:
            part.train()
        for loader in (self.recipe.dataloader, *self.recipe.val_dataloaders.values()):
            _load_in_this_process(loader)
        scheduler = self.recipe.step_scheduler
        scheduler.set_epoch(scheduler.epoch)
        batches = next(iter(scheduler), None)
        if not batches:
            text = "the data give not even one step: they are shorter than a global batch"
            raise Fault("StopIteration", text, "dataset")
        return list(batches[:_MICRO_BATCHES])

    def _steps(self, peers: Any, batches: list[Any]) -> None:
        tracker = memory.Tracker(self.mode) if self.request.memory else None
        if tracker is not None:
            tracker.count_model(self.recipe.model_parts)
        with peers, self.mode, tracker or contextlib.nullcontext():
            for _ in range(_STEPS_WITH_MEMORY if tracker is not None else 1):
                self.recipe.timestamp = time.perf_counter()
                self.recipe._run_train_optim_step(batches, self.recipe.max_grad_norm)
        self.memory = tracker.read() if tracker is not None else None

    def _schedule(self) -> None:
        """Take the learning rate to its turning points: AutoModel looks at a style's name only after the warm-up."""
        end = self.recipe.step_scheduler.max_steps or 1000
        for scheduler in self.recipe.lr_scheduler or ():
            warm = getattr(scheduler, "lr_warmup_steps", 0)
            for step in sorted({1, warm, warm + 1, end // 2, end - 1, end}):
                if step > scheduler.num_steps:
                    scheduler.step(step - scheduler.num_steps)

    def _validate(self) -> None:
        for loader in self.recipe.val_dataloaders.values():
            batch = next(iter(loader), None)
            if batch is not None:
                self.recipe._run_validation_epoch([batch])


def _check_class(recipe_class: type[Any]) -> None:
    from nemo_automodel.recipes.llm.train_ft import TrainFinetuneRecipeForNextTokenPrediction

    if not issubclass(recipe_class, TrainFinetuneRecipeForNextTokenPrediction):
        text = f"the recipe class {recipe_class.__name__} is none of next-token prediction"
        raise outcomes.Limit(result.RECIPE_CLASS, text)


def _load_in_this_process(loader: Any) -> None:
    """Have a loader start no processes; its settings were looked at when it was made."""
    if getattr(loader, "num_workers", 0) > 0:
        loader.num_workers, loader.prefetch_factor = 0, None
        loader.__dict__["persistent_workers"] = False  # torch lets nobody set it once a loader is made
    if getattr(loader, "pin_memory", False):
        loader.pin_memory = False


def _experts(config: Any) -> int:
    """The largest number of experts that a configuration names, 1 for a dense model."""
    found = [1]
    if isinstance(config, Mapping):
        for key, value in config.items():
            if key in ("num_experts", "num_local_experts", "n_routed_experts") and isinstance(value, int):
                found.append(value)
            elif isinstance(value, Mapping):
                found.append(_experts(value))
    return max(found)
