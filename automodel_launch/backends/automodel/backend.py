"""NeMo AutoModel as a backend: what automodel_launch/backends asks, answered."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

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
)
from automodel_launch.backends.automodel import (
    checkpoints,
    checks,
    datasets,
    pace,
    packages,
    rehearsal,
    schema,
    sizes,
    step_scheduler,
    trackers,
)
from automodel_launch.backends.automodel import references as references_
from automodel_launch.backends.automodel.checks import data, routing
from automodel_launch.backends.trackers import Use
from automodel_launch.plan.finding import Finding
from automodel_launch.plan.plan import Plan
from automodel_launch.remote.probes import Results


class AutoModel:
    """Implements backends.Backend."""

    framework: Framework | None = Framework(
        title="AutoModel",
        distribution="nemo-automodel",
        package="nemo_automodel",
        version=schema.VERSION,
        checkout="/opt/Automodel",
        builds='"/tmp/nemo_automodel_$(id -u)"',
    )

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

    def checkpoints(self, plan: Plan) -> Checkpoints | None:
        """From `step_scheduler`, `checkpoint`, the model and the optimizer."""
        return checkpoints.of(plan)

    def sizes(self, plan: Plan) -> Sizes:
        """From the model, the schedule and the data."""
        return sizes.of(plan)

    def packages(self, config: Config) -> Iterator[Need]:
        """Those of trackers, quantization and losses."""
        return packages.needed(config)

    def rehearsal(self, plan: Plan) -> Rehearsal | None:
        """recipes/rehearse.py; it depends on the files of model, tokenizer and data that the config names."""
        return rehearsal.of(plan)

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
