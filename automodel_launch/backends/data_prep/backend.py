"""Data preparation as a backend: what automodel_launch/backends asks, answered."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

from automodel_launch import backends
from automodel_launch.backends import Config, Need, Reference, Sizes, look
from automodel_launch.backends.data import facts, paths
from automodel_launch.backends.data_prep import keys, stores, table
from automodel_launch.backends.plain import Plain
from automodel_launch.config import dotted
from automodel_launch.plan.finding import Finding
from automodel_launch.plan.plan import Plan

_MANIFESTS = "artifact.root"
# The recipe's codes -> findings. Each code is written out, as the documents list those of the source.
_FINDINGS: dict[str, Callable[..., Finding]] = {
    "data-prep-config": lambda level, *rest: Finding(level, "data-prep-config", *rest),
    "data-prep-input": lambda level, *rest: Finding(level, "data-prep-input", *rest),
    "data-prep-rows": lambda level, *rest: Finding(level, "data-prep-rows", *rest),
    "data-prep-tokenizer": lambda level, *rest: Finding(level, "data-prep-tokenizer", *rest),
    "data-prep-disk": lambda level, *rest: Finding(level, "data-prep-disk", *rest),
    "data-prep-epochs": lambda level, *rest: Finding(level, "data-prep-epochs", *rest),
    "data-prep-separator": lambda level, *rest: Finding(level, "data-prep-separator", *rest),
    "data-prep-specials": lambda level, *rest: Finding(level, "data-prep-specials", *rest),
    "data-prep-left-out": lambda level, *rest: Finding(level, "data-prep-left-out", *rest),
    "data-prep-upload": lambda level, *rest: Finding(level, "data-prep-upload", *rest),
    "data-prep-not-looked-at": lambda level, *rest: Finding(level, "data-prep-not-looked-at", *rest),
}


class DataPrep(Plain):
    """Implements backends.Backend."""

    keeps: str | None = "makes only the shards that are missing"

    def references(self, config: Config) -> Iterator[Reference]:
        """The tokenizer, the datasets' paths and the output."""
        yield from super().references(config)
        for key, path in keys.datasets(config):
            if path.startswith("/"):
                yield Reference("data", key, _folder(path))
        if isinstance(config.get("output_dir"), str):
            yield Reference("output", "output_dir", config["output_dir"])

    def promises(self, plan: Plan) -> Mapping[str, str]:
        """The output's directory, whose name is a hash of all that makes it; `latest` where that is not known here."""
        base = str(plan.config.get("output_dir") or plan.run_dir).rstrip("/")
        path = _looked(plan).output or f"{base}/latest"
        if plan.config.get("format") == "nanogpt":
            return {"output_dir": base, "path": path, "shards": f"{path}/train/*.bin"}
        return {"output_dir": base, "path": path, "blend": f"{path}/blend.json"}

    def sizes(self, plan: Plan, with_data: bool = True) -> Sizes:
        """The table of sources for the preview."""
        return Sizes(rows=tuple(table.rows(plan, _looked(plan)))) if with_data else Sizes()

    def packages(self, config: Config) -> Iterator[Need]:
        """obstore, where data lie in stores."""
        return stores.packages(config)

    def checks(self, plan: Plan) -> Iterator[Finding]:
        """What the recipe says of its config, and of the data that this machine sees."""
        known = [*super().checks(plan), *paths.relatives(plan, _paths(plan.config))]
        yield from known
        found = _looked(plan)
        if found.failed:
            message = f"the config and its data were not looked at: {found.failed}."
            yield Finding("note", "data-prep-not-looked-at", message)
        said = {finding.code for finding in known}
        for finding in look.findings(found, _FINDINGS):
            if not (finding.code == "data-prep-tokenizer" and "no-tokenizer" in said):  # the same directory
                yield finding
        yield from stores.not_given(plan)
        if found.total:
            yield Finding("note", "data-prep-estimate", f"{table.summary(plan, found.total)}.")

    def _request(self, plan: Plan) -> facts.Request:
        return replace(super()._request(plan), writable=tuple(path for _, path in _outputs(plan)))

    def _judged(self, plan: Plan, data: facts.DataFacts) -> Iterator[Finding]:
        yield from super()._judged(plan, data)
        for key, path in _outputs(plan):
            message = paths.unwritable(plan, key, path, data)
            if message:
                fix = f"{key}=${{run.data_dir}}/NAME, or another directory"
                fix += "; ~artifact writes no manifest" if key == _MANIFESTS else ""
                yield Finding("error", "data-prep-disk", message, fix)


def _outputs(plan: Plan) -> Iterator[tuple[str, str]]:
    """The directories that are written, where their paths mean something here; a sample has no manifest by itself."""
    config = plan.config
    published = config.get("sample") is None or config.get("publish") is True
    for key in ("output_dir", *([_MANIFESTS] if published else [])):
        path = dotted.get(config, key)
        if isinstance(path, str) and path.startswith("/") and not dotted.left_to_the_job(path):
            yield key, path


def _looked(plan: Plan) -> look.Looked:
    """Once for all parts of an array; with the profile's variables for object stores."""
    return look.looked(plan, aside=("part",), variables=stores.PREFIXES)


def _paths(config: Config) -> Iterator[tuple[str, object]]:
    """What it reads and writes, but for the tokenizer, which may be a hub id."""
    yield from keys.datasets(config)
    yield from ((key, config.get(key)) for key in ("blend", "output_dir"))
    artifact = config.get("artifact")
    yield "artifact.root", artifact.get("root") if isinstance(artifact, Mapping) else None


def _folder(path: str) -> str:
    """A glob's directory."""
    parts = path.split("/")
    first = next((i for i, part in enumerate(parts) if set(part) & set("*?[")), len(parts))
    return "/".join(parts[:first]) or "/"


BACKEND: backends.Backend = DataPrep()
