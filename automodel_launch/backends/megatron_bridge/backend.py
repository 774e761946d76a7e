"""NVIDIA Megatron-Bridge as a backend: what automodel_launch/backends asks, answered."""

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
from automodel_launch.backends.megatron_bridge import (
    checkpoints,
    checks,
    families,
    keys,
    schema,
    settings,
    sizes,
    starts,
    trackers,
    training,
)
from automodel_launch.backends.megatron_bridge import references as references_
from automodel_launch.backends.megatron_bridge.checks import data, sections
from automodel_launch.backends.noise import Noise
from automodel_launch.backends.trackers import Use
from automodel_launch.config import dotted
from automodel_launch.errors import ConfigError
from automodel_launch.plan.finding import Finding
from automodel_launch.plan.plan import Plan
from automodel_launch.remote.probes import Results


class MegatronBridge:
    """Implements backends.Backend."""

    keeps: str | None = None
    framework: Framework | None = Framework(
        title="Megatron-Bridge",
        distribution="megatron-bridge",
        package="megatron.bridge",
        version=schema.VERSION,
        checkout="/opt/Megatron-Bridge",
        setup="bash scripts/setup.sh --bridge makes .venv-bridge, and run.env.python=.venv-bridge/bin/python takes it",
    )

    def noise(self) -> Noise:
        """A list of its own, of many patterns."""
        from automodel_launch.backends.megatron_bridge.noise import NOISE

        return NOISE

    def takes(self, config: Config, key: str) -> bool:
        """A section, or a field of one."""
        return sections.takes(config, key)

    def max_steps(self, config: Config) -> int | None:
        """train.train_iters, or train.train_samples by the global batch; the recipe's where the config has none."""
        return training.iterations(config)

    def pace(self, config: Config) -> Pace:
        """GPTDataset shuffles as many epochs as train_iters needs; how often it saves and logs changes nothing."""
        return Pace(keys.CADENCE, (keys.ITERS, keys.SAMPLES))

    def longer(self, begun: Config, now: Config) -> Iterator[str]:
        """The schedule of learning rates is the config's (so in NVIDIA's recipes) or the checkpoint's."""
        if training.iterations(begun) != training.iterations(now):
            yield from training.schedule_after(begun, now)

    def checkpoint_dir(self, config: Config, run_dir: str) -> str | None:
        """checkpoint.save; in the run's directory where it is not given."""
        return checkpoints.checkpoint_dir(config, run_dir)

    def references(self, config: Config) -> Iterator[Reference]:
        """blend.json or prefixes, the tokenizer, the Hugging Face config of the recipe's model, and directories."""
        return references_.references(config)

    def data(self, config: Config, run_dir: str) -> Data:
        """Megatron's files, and their index."""
        return references_.identified(config, run_dir)

    def promises(self, plan: Plan) -> Mapping[str, str]:
        """Checkpoints in Megatron's format, which the recipe `convert` reads."""
        folder = self.checkpoint_dir(plan.config, plan.run_dir)
        return {"checkpoints": folder} if folder else {}

    def trackers(self, config: Config) -> Iterator[Use]:
        """Weights & Biases of the section `logger`."""
        return trackers.used(config)

    def presets(self) -> Mapping[str, Sequence[str]]:
        """The recipes of the release that the schema is of."""
        return families.recipes()

    def offer(self, model: Model) -> Offer | None:
        """The recipe of a model, or of the nearest size of its family."""
        return families.offer(model)

    def compiles(self, config: Config) -> str | None:
        """Nothing: the wheel has its indexer built, and recipes/bridge_lib sees to it that nobody builds it again."""
        return None

    def keep_limit(self, config: Config) -> tuple[str, int] | None:
        """checkpoint.most_recent_k, the config's or the recipe's."""
        keep = checkpoints.kept(settings.of(config))
        return None if keep is None else (keys.KEEP, keep)

    def checkpoints(self, plan: Plan) -> Checkpoints | None:
        """From `train`, `checkpoint`, the model and the optimizer, and the recipe's values of them."""
        return checkpoints.of(plan)

    def sizes(self, plan: Plan, with_data: bool = True) -> Sizes:
        """From the model, the schedule and the data."""
        return sizes.of(plan, with_data)

    def packages(self, config: Config) -> Iterator[Need]:
        """Those of the trackers, of an optimizer and of the watch for stragglers."""
        yield from trackers.packages(config)
        if str(dotted.get(config, "optimizer.optimizer")).startswith("muon"):
            yield Need("emerging_optimizers", "optimizer.optimizer", "emerging-optimizers")
        if dotted.get(config, "nvrx_straggler.enabled") is True:
            yield Need("nvidia_resiliency_ext", "nvrx_straggler.enabled", "nvidia-resiliency-ext")

    def rehearsal(self, plan: Plan) -> Rehearsal | None:
        """None: recipes/rehearse.py tries AutoModel's set-up, and Megatron-Core's wants process groups of its own."""
        return None

    def begin_from(self, config: Config, start: Start) -> list[str]:
        """The section `checkpoint` names it."""
        return starts.begin_from(config, start)

    def begins_with(self, config: Config) -> str | None:
        """What the section `checkpoint` names."""
        return starts.begins_with(config)

    def phases(self, config: Config) -> Sequence[tuple[str, int, int]]:
        """Its data stay the same."""
        return ()

    def evaluation(self, config: Config, checkpoint: str) -> dict[str, Any]:
        """None: recipes/evaluate.py is AutoModel's."""
        fix = "`convert megatron-to-hf` it, then `evaluate` with EVALUATE_MODEL"
        raise ConfigError("checkpoints of Megatron-Bridge are not evaluated by themselves.", fix)

    def versions(self, log: str) -> dict[str, str]:
        """0.3.1 logs none."""
        return {}

    def checks(self, plan: Plan) -> Iterator[Finding]:
        """The config against Megatron-Bridge's schema, sizes, and data that this machine sees."""
        for check in checks.CHECKS:
            yield from check(plan)

    def questions(self, plan: Plan) -> dict[str, str]:
        """The probe of data and directories, where this machine does not see them."""
        return data.LOOK.questions(plan)

    def judge(self, plan: Plan, results: Results) -> Iterator[Finding]:
        """Findings from the probe's answer."""
        return data.LOOK.judge(plan, results)


BACKEND: backends.Backend = MegatronBridge()
