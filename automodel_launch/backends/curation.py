"""Backend `curation`: text filtered and deduplicated by datatrove, which trains nothing."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from automodel_launch import backends
from automodel_launch.backends import Config, Need, Reference, look, own_steps, user_code
from automodel_launch.backends.data import facts, paths
from automodel_launch.backends.noise import Noise, block, patterns
from automodel_launch.backends.plain import Plain
from automodel_launch.config import dotted
from automodel_launch.plan.describe import describe_value
from automodel_launch.plan.finding import Finding
from automodel_launch.plan.plan import Plan

# The recipe's codes -> findings. Each code is written out, as the documents list those of the source.
_FINDINGS: dict[str, Callable[..., Finding]] = {
    "curate-config": lambda level, *rest: Finding(level, "curate-config", *rest),
    "curate-input": lambda level, *rest: Finding(level, "curate-input", *rest),
    "curate-not-looked-at": lambda level, *rest: Finding(level, "curate-not-looked-at", *rest),
}


# What datatrove 0.10.1 tells of each task; the recipe says the counts of all of them at the end.
_NOISE = Noise(
    lines=patterns([r"\| (INFO|SUCCESS) +\| datatrove\.[\w.]+:\w+:\d+ - .*\S$"]),
    blocks=(block(r"\| (INFO|SUCCESS) +\| datatrove\.[\w.]+:\w+:\d+ - $", r"(?!stage |\d{4}-\d\d-|error|  \S|/).*"),),
)


_STEP = re.compile(r"stages\.\d+\.pipeline\.\d+")


class Curation(Plain):
    """Implements backends.Backend."""

    keeps: str | None = "runs only the tasks that are missing"

    def noise(self) -> Noise:
        """What datatrove tells of each task."""
        return _NOISE

    def references(self, config: Config) -> Iterator[Reference]:
        """The directories that it reads, but for those of its own, and the output."""
        output = config.get("output_dir")
        for key, step in _steps(config):
            folder = step.get("data_folder")
            if isinstance(folder, str) and folder.startswith("/") and not f"{folder}/".startswith(f"{output}/"):
                yield Reference("data", f"{key}.data_folder", folder)
        if isinstance(output, str):
            yield Reference("output", "output_dir", output)

    def _request(self, plan: Plan) -> facts.Request:
        return facts.Request(writable=tuple(path for _, path in _written(plan)))

    def _judged(self, plan: Plan, data: facts.DataFacts) -> Iterator[Finding]:
        told = set[str]()
        for key, path in _written(plan):
            unwritable = paths.unwritable(plan, key, path, data)
            base = str(data.about("writable", path).get("base"))
            if unwritable and base not in told:
                told.add(base)
                fix = f"{key}=${{run.data_dir}}/NAME, or another directory"
                yield Finding("error", "curate-output", unwritable, fix)

    def promises(self, plan: Plan) -> Mapping[str, str]:
        """The output's directory; what lies in it is the stages' business."""
        return {"path": str(plan.config.get("output_dir") or plan.run_dir).rstrip("/")}

    def packages(self, config: Config) -> Iterator[Need]:
        """datatrove."""
        yield Need("datatrove", "stages", "datatrove")

    def checks(self, plan: Plan) -> Iterator[Finding]:
        """What the recipe says of its config, and of the directories that this machine sees; files of one's own."""
        yield from super().checks(plan)
        yield from paths.relatives(plan, _folders(plan.config))
        found = look.looked(plan)
        if found.failed:
            yield Finding("note", "curate-not-looked-at", f"the config was not looked at: {found.failed}.")
        yield from look.findings(found, _FINDINGS)
        for key, step in _targets("stages", plan.config.get("stages")):
            yield from _own(plan, key, step)


def _targets(key: str, value: object) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every mapping that names a class or function in a file of one's own, with its key."""
    if isinstance(value, Mapping):
        if ":" in str(value.get("_target_", "")):
            yield key, value
        for name, item in value.items():
            yield from _targets(f"{key}.{name}", item)
    elif isinstance(value, list):
        for i, item in enumerate(value):
            yield from _targets(f"{key}.{i}", item)


def _own(plan: Plan, key: str, step: Mapping[str, Any]) -> Iterator[Finding]:
    """The file travels, has the name, and that takes these arguments; a step is one of datatrove's."""
    target, where = str(step["_target_"]), f"{key}._target_"
    yield from user_code.in_file(plan, where, target)
    text, name = user_code.text(plan, target) or b"", target.rpartition(":")[2]
    wrong = own_steps.refused(text, name, [argument for argument in step if argument != "_target_"])
    fix = "the arguments beside _target_, or the file"
    if wrong is None and _STEP.fullmatch(key):
        wrong, fix = own_steps.no_step(text, name), "a class on datatrove.pipeline.filters.base_filter.BaseFilter"
    if wrong:
        yield Finding("error", "curate-config", f"{describe_value(plan, where, target)}: {wrong}.", fix)


def _steps(config: Config) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The steps of all stages with their keys, as far as the config has the form."""
    stages = config.get("stages")
    for i, stage in enumerate(stages if isinstance(stages, list) else []):
        steps = stage.get("pipeline") if isinstance(stage, Mapping) else None
        for k, step in enumerate(steps if isinstance(steps, list) else []):
            if isinstance(step, Mapping):
                yield f"stages.{i}.pipeline.{k}", step


def _written(plan: Plan) -> Iterator[tuple[str, str]]:
    """(key, path) of what it writes, where that is a path of the job's: output_dir, and folders of its steps."""
    for key, value in _folders(plan.config):
        written = key.rpartition(".")[2].startswith("output") and isinstance(value, str) and value.startswith("/")
        if written and not dotted.left_to_the_job(value):
            yield key, str(value)


def _folders(config: Config) -> Iterator[tuple[str, object]]:
    """What it reads and writes, as curate_lib/config.py tells paths from other arguments."""
    yield "output_dir", config.get("output_dir")
    for key, name, value in _values("stages", config.get("stages")):
        if name.endswith(("_folder", "paths_file")):
            yield key, value


def _values(key: str, value: object, name: str = "") -> Iterator[tuple[str, str, object]]:
    """(key, name of the argument, value) of all that is neither a mapping nor a list, however deep."""
    if isinstance(value, Mapping):
        for inner, item in value.items():
            yield from _values(f"{key}.{inner}", item, str(inner))
    elif isinstance(value, list):
        for i, item in enumerate(value):
            yield from _values(f"{key}.{i}", item, name)
    else:
        yield key, name, value


BACKEND: backends.Backend = Curation()
