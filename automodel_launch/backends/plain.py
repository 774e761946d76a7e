"""Backend `none`: a plain script. Of its config only what the launcher's own recipes have in common is known."""

from __future__ import annotations

from collections.abc import Iterator

from automodel_launch import backends
from automodel_launch.backends import Checkpoints, Config, Framework, Reference, Sizes
from automodel_launch.backends.trackers import Use
from automodel_launch.plan.finding import Finding
from automodel_launch.plan.plan import Plan
from automodel_launch.remote.probes import Results


class Plain:
    """Implements backends.Backend."""

    framework: Framework | None = None

    def max_steps(self, config: Config) -> int | None:
        """Not known."""
        return None

    def checkpoint_dir(self, config: Config) -> str | None:
        """None."""
        return None

    def references(self, config: Config) -> Iterator[Reference]:
        """A `tokenizer` at the top level, which data-prep's configs have."""
        if isinstance(config.get("tokenizer"), str):
            yield Reference("tokenizer", "tokenizer", config["tokenizer"])

    def trackers(self, config: Config) -> Iterator[Use]:
        """A section `wandb`; whether the script needs the network for it is not known."""
        if "wandb" in config:
            yield Use("wandb", "wandb")

    def compiles(self, config: Config) -> str | None:
        """Not known."""
        return None

    def checkpoints(self, plan: Plan) -> Checkpoints | None:
        """None."""
        return None

    def sizes(self, plan: Plan) -> Sizes:
        """Not known."""
        return Sizes()

    def checks(self, plan: Plan) -> Iterator[Finding]:
        """The recipe depends on a framework that a backend knows, and does not say so."""
        if plan.recipe.backend is not None:
            return
        for name in backends.names():
            framework = backends.get(name).framework
            if framework and any(framework.is_named_by(entry) for entry in plan.recipe.dependencies):
                message = f"{plan.recipe.path} depends on {framework.distribution} and names no backend: its config is"
                message += " not checked."
                fix = f'# backend = "{name}" below # [tool.runspec] in the script\'s metadata block'
                yield Finding("warning", "backend-not-named", message, fix)

    def questions(self, plan: Plan) -> dict[str, str]:
        """None."""
        return {}

    def judge(self, plan: Plan, answers: Results) -> Iterator[Finding]:
        """Nothing."""
        yield from ()


BACKEND: backends.Backend = Plain()
