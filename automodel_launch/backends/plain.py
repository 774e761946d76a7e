"""Backend `none`: a plain script. Of its config only what the launcher's own recipes have in common is known."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from automodel_launch import backends
from automodel_launch.backends import (
    Checkpoints,
    Config,
    Data,
    Framework,
    Model,
    Need,
    Offer,
    Pace,
    Reference,
    Rehearsal,
    Sizes,
    Start,
)
from automodel_launch.backends.data import facts, paths
from automodel_launch.backends.noise import NONE, Noise
from automodel_launch.backends.trackers import Use
from automodel_launch.errors import ConfigError
from automodel_launch.plan.finding import Finding
from automodel_launch.plan.plan import Plan
from automodel_launch.remote.probes import Results


class Plain:
    """Implements backends.Backend."""

    framework: Framework | None = None
    keeps: str | None = None

    def noise(self) -> Noise:
        """Not known."""
        return NONE

    def takes(self, config: Config, key: str) -> bool:
        """Not known."""
        return False

    def max_steps(self, config: Config) -> int | None:
        """Not known."""
        return None

    def pace(self, config: Config) -> Pace:
        """Not known."""
        return Pace()

    def longer(self, begun: Config, now: Config) -> Iterator[str]:
        """Not known."""
        return iter(())

    def checkpoint_dir(self, config: Config, run_dir: str) -> str | None:
        """None."""
        return None

    def references(self, config: Config) -> Iterator[Reference]:
        """A `tokenizer` at the top level, which data-prep's configs have."""
        if isinstance(config.get("tokenizer"), str):
            yield Reference("tokenizer", "tokenizer", config["tokenizer"])

    def data(self, config: Config, run_dir: str) -> Data:
        """Not known."""
        return Data()

    def promises(self, plan: Plan) -> Mapping[str, str]:
        """Not known, beside its run's directory."""
        return {}

    def trackers(self, config: Config) -> Iterator[Use]:
        """A section `wandb`; whether the script needs the network for it is not known."""
        if "wandb" in config:
            yield Use("wandb", "wandb")

    def presets(self) -> Mapping[str, Sequence[str]]:
        """None."""
        return {}

    def offer(self, model: Model) -> Offer | None:
        """None."""
        return None

    def compiles(self, config: Config) -> str | None:
        """Not known."""
        return None

    def keep_limit(self, config: Config) -> tuple[str, int] | None:
        """None."""
        return None

    def checkpoints(self, plan: Plan) -> Checkpoints | None:
        """None."""
        return None

    def sizes(self, plan: Plan, with_data: bool = True) -> Sizes:
        """Not known."""
        return Sizes()

    def packages(self, config: Config) -> Iterator[Need]:
        """None that are known: a section `wandb` may be for anything."""
        return iter(())

    def rehearsal(self, plan: Plan) -> Rehearsal | None:
        """Nothing is known that could be tried."""
        return None

    def begin_from(self, config: Config, start: Start) -> list[str]:
        """It is not known which key would do that."""
        message = "it is not known with which key this recipe's config begins from given weights."
        raise ConfigError(message, "--from is for recipes of a framework; set the key yourself")

    def begins_with(self, config: Config) -> str | None:
        """Not known."""
        return None

    def phases(self, config: Config) -> Sequence[tuple[str, int, int]]:
        """Not known."""
        return ()

    def evaluation(self, config: Config, checkpoint: str) -> dict[str, Any]:
        """It is not known what its checkpoints are."""
        raise ConfigError("it is not known how checkpoints of this recipe are evaluated.", "those of AutoModel are")

    def versions(self, log: str) -> dict[str, str]:
        """Not known."""
        return {}

    def checks(self, plan: Plan) -> Iterator[Finding]:
        """The tokenizer's directory; and a framework that a backend knows, and that the recipe does not name."""
        yield from self._look().here(plan)
        for name, framework in backends.frameworks().items() if plan.recipe.backend is None else ():
            if any(framework.is_named_by(entry) for entry in plan.recipe.dependencies):
                message = f"{plan.recipe.path} depends on {framework.distribution} and names no backend: its config is"
                message += " not checked."
                fix = f'# backend = "{name}" below # [tool.runspec] in the script\'s metadata block'
                yield Finding("warning", "backend-not-named", message, fix)

    def questions(self, plan: Plan) -> dict[str, str]:
        """The tokenizer's directory, where this machine does not see it."""
        return self._look().questions(plan)

    def judge(self, plan: Plan, results: Results) -> Iterator[Finding]:
        """Findings from the answer."""
        return self._look().judge(plan, results)

    def _look(self) -> facts.Look:
        return facts.Look(self._request, (self._judged,))

    def _request(self, plan: Plan) -> facts.Request:
        return facts.Request(folders=tuple(one.value for one in paths.folders(plan, self.references(plan.config))))

    def _judged(self, plan: Plan, data: facts.DataFacts) -> Iterator[Finding]:
        return paths.check_folders(plan, self.references(plan.config), data)


BACKEND: backends.Backend = Plain()
