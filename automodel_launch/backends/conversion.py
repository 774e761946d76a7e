"""Backend `conversion`: weights from one format to another, which trains nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from automodel_launch import backends
from automodel_launch.backends import Config, Reference
from automodel_launch.backends.data import facts, paths
from automodel_launch.backends.data.facts import DataFacts
from automodel_launch.backends.plain import Plain
from automodel_launch.config import dotted
from automodel_launch.plan.describe import describe, describe_value
from automodel_launch.plan.finding import Finding
from automodel_launch.plan.plan import Plan
from automodel_launch.suggest import completed

_DIRECTIONS = ("megatron-to-hf", "hf-to-megatron")
_DTYPES = ("float32", "bfloat16", "float16")
_SHORT = {"bf16": "bfloat16", "fp16": "float16", "half": "float16", "fp32": "float32"}


class Conversion(Plain):
    """Implements backends.Backend."""

    def references(self, config: Config) -> Iterator[Reference]:
        """What is in Hugging Face's format: a directory or a hub id."""
        key = "source" if config.get("direction") == _DIRECTIONS[1] else "hf"
        if isinstance(config.get(key), str):
            yield Reference("model", key, config[key])
        if str(config.get("output")).startswith("/"):
            yield Reference("output", "output", config["output"])

    def promises(self, plan: Plan) -> Mapping[str, str]:
        """The weights that it writes, by their format."""
        name = "hf" if plan.config.get("direction") == _DIRECTIONS[0] else "checkpoint"
        return {"path": str(plan.config.get("output")), name: str(plan.config.get("output"))}

    def checks(self, plan: Plan) -> Iterator[Finding]:
        """The config's few values, and directories that this machine sees."""
        yield from _values(plan)
        yield from super().checks(plan)

    def _request(self, plan: Plan) -> facts.Request:
        folders = [one.value for one in paths.folders(plan, self.references(plan.config))]
        return facts.Request(folders=tuple(dict.fromkeys([*folders, *_checkpoints(plan)])))

    def _judged(self, plan: Plan, data: DataFacts) -> Iterator[Finding]:
        yield from super()._judged(plan, data)
        for path in _checkpoints(plan):
            if data.about("folders", path).get("missing"):
                message = f"{describe(plan, 'source')}: no such directory{paths.outside(plan, path)}."
                yield Finding("error", "no-model", message, "source=RUN_DIR/checkpoints, or one iter_N of them")


def _checkpoints(plan: Plan) -> list[str]:
    """The directory of Megatron's that is read, where it is a path of the job's."""
    source = plan.config.get("source")
    if not isinstance(source, str) or not source.startswith("/") or plan.config.get("direction") != _DIRECTIONS[0]:
        return []
    return [] if dotted.left_to_the_job(source) else [source]


def _values(plan: Plan) -> Iterator[Finding]:
    config = plan.config
    yield from _named(plan, "direction", _DIRECTIONS)
    if config.get("dtype") is not None:
        yield from _named(plan, "dtype", _DTYPES)
    step = config.get("step")
    if step is not None and not dotted.left_to_the_job(step) and (type(step) is not int or step < 0):
        message = f"{describe(plan, 'step')} is not a number of iterations."
        yield Finding("error", "wrong-type", message, "step=1000, or ~step for the newest complete checkpoint")
    for key in ("source", "output"):
        yield from _path(plan, key)


def _named(plan: Plan, key: str, known: tuple[str, ...]) -> Iterator[Finding]:
    value = plan.config.get(key)
    if value not in known and not dotted.left_to_the_job(value):
        near = _SHORT.get(str(value)) or completed(str(value), list(known)) or known[0]
        message = f"{describe_value(plan, key, value)}: there is {', '.join(known)}."
        yield Finding("error", "bad-value", message, f"{key}={near}")


def _path(plan: Plan, key: str) -> Iterator[Finding]:
    value = plan.config.get(key)
    if not isinstance(value, str) or not value:
        yield Finding("error", "missing-key", f"{key} is not the path of a directory.", f"{key}=DIR")
    elif dotted.left_to_the_job(value) or value.startswith(("/", "~")):
        return
    elif key == "output" or plan.config.get("direction") == _DIRECTIONS[0]:  # else a hub id, or found by _judged
        yield paths.relative(describe(plan, key), value)


BACKEND: backends.Backend = Conversion()
