"""NeMo AutoModel as a backend: what automodel_launch/backends asks, answered."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from automodel_launch import backends, contract
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
from automodel_launch.backends.automodel import (
    checkpoints,
    checks,
    datasets,
    evaluation,
    keys,
    pace,
    packages,
    phases,
    rehearsal,
    schema,
    sizes,
    starts,
    step_scheduler,
    takes,
    trackers,
)
from automodel_launch.backends.automodel import references as references_
from automodel_launch.backends.automodel.checks import data, routing
from automodel_launch.backends.noise import Noise
from automodel_launch.backends.trackers import Use
from automodel_launch.plan.finding import Finding
from automodel_launch.plan.plan import Plan
from automodel_launch.remote.probes import Results


class AutoModel:
    """Implements backends.Backend."""

    keeps: str | None = None
    framework: Framework | None = Framework(
        title="AutoModel",
        distribution="nemo-automodel",
        package="nemo_automodel",
        version=schema.VERSION,
        checkout="/opt/Automodel",
        builds='"/tmp/nemo_automodel_$(id -u)"',
    )

    def noise(self) -> Noise:
        """A list of its own, of many patterns."""
        from automodel_launch.backends.automodel.noise import NOISE

        return NOISE

    def takes(self, config: Config, key: str) -> bool:
        """By its schema."""
        return takes.takes(config, key)

    def max_steps(self, config: Config) -> int | None:
        """step_scheduler.max_steps."""
        return step_scheduler.max_steps(config)

    def pace(self, config: Config) -> Pace:
        """max_steps, where the order of the samples is none of it; ckpt_every_steps and the like."""
        return pace.of(config)

    def longer(self, begun: Config, now: Config) -> Iterator[str]:
        """The schedule of learning rates is the checkpoint's."""
        return pace.longer(begun, now)

    def checkpoint_dir(self, config: Config, run_dir: str) -> str | None:
        """checkpoint.checkpoint_dir; None where checkpoints are switched off."""
        return checkpoints.checkpoint_dir(config)

    def references(self, config: Config) -> Iterator[Reference]:
        """Paths and hub ids in the sections of datasets, the model and checkpoints."""
        return references_.references(config)

    def data(self, config: Config, run_dir: str) -> Data:
        """Megatron's and nanoGPT's files; the index of the former."""
        return datasets.identified(config)

    def promises(self, plan: Plan) -> Mapping[str, str]:
        """Checkpoints, and the last one's export for transformers, to which the recipe makes a link at the end."""
        folder = checkpoints.checkpoint_dir(plan.config)
        exported = {"hf": f"{plan.run_dir}/{contract.HF}"} if folder and checkpoints.consolidates(plan.config) else {}
        return {**({"checkpoints": folder} if folder else {}), **exported}

    def trackers(self, config: Config) -> Iterator[Use]:
        """The section `wandb`."""
        return trackers.used(config)

    def presets(self) -> Mapping[str, Sequence[str]]:
        """None: AutoModel's recipes are classes, and any model is trained by the same one."""
        return {}

    def offer(self, model: Model) -> Offer | None:
        """Any model of the hub, by its id."""
        return routing.offer(model)

    def compiles(self, config: Config) -> str | None:
        """The indexer of Megatron data, at a machine's first run, after the model is loaded."""
        return "its indexer of Megatron data" if datasets.compiles(config) else None

    def keep_limit(self, config: Config) -> tuple[str, int] | None:
        """checkpoint.max_recent_checkpoints; beside them stays what LOWEST_VAL names."""
        keep = checkpoints.kept_checkpoints(config)
        return None if keep is None else (keys.KEEP_CHECKPOINTS, keep)

    def checkpoints(self, plan: Plan) -> Checkpoints | None:
        """From `step_scheduler`, `checkpoint`, the model and the optimizer."""
        return checkpoints.of(plan)

    def sizes(self, plan: Plan, with_data: bool = True) -> Sizes:
        """From the model, the schedule and the data."""
        return sizes.of(plan, with_data)

    def packages(self, config: Config) -> Iterator[Need]:
        """Those of trackers, quantization and losses."""
        return packages.needed(config)

    def rehearsal(self, plan: Plan) -> Rehearsal | None:
        """recipes/rehearse.py; it depends on the files of model, tokenizer and data that the config names."""
        return rehearsal.of(plan)

    def begin_from(self, config: Config, start: Start) -> list[str]:
        """The model's section loads the weights, and has no sizes of its own."""
        return starts.begin_from(config, start)

    def begins_with(self, config: Config) -> str | None:
        """What from_pretrained loads."""
        return starts.begins_with(config)

    def phases(self, config: Config) -> Sequence[tuple[str, int, int]]:
        """Those of `dataset.phases`."""
        return [(phase.name, phase.first, phase.last) for phase in phases.known(config)]

    def evaluation(self, config: Config, checkpoint: str) -> dict[str, Any]:
        """The run's model and held-out data, and the checkpoint's weights."""
        return evaluation.of(config, checkpoint)

    def versions(self, log: str) -> dict[str, str]:
        """The lines below `Library versions:`."""
        return starts.versions(log)

    def checks(self, plan: Plan) -> Iterator[Finding]:
        """The config against AutoModel's schema, sizes, memory, and data that this machine sees."""
        for check in checks.CHECKS:
            yield from check(plan)

    def questions(self, plan: Plan) -> dict[str, str]:
        """The probe of data and directories, where this machine does not see them."""
        return data.LOOK.questions(plan)

    def judge(self, plan: Plan, results: Results) -> Iterator[Finding]:
        """Findings from the probe's answer."""
        return data.LOOK.judge(plan, results)


BACKEND: backends.Backend = AutoModel()
