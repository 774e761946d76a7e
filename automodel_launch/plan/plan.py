"""Plan: an immutable value that holds everything that will happen. It looks nothing up: launch/planning.py fills it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, fields
from typing import Any, Literal

from automodel_launch.config import artifacts, yamlio
from automodel_launch.config.dotted import flatten
from automodel_launch.frozen import freeze
from automodel_launch.plan.mounts import Mount
from automodel_launch.plan.packaging import PlannedFile
from automodel_launch.plan.recipes import Recipe
from automodel_launch.profile.schema import Profile
from automodel_launch.remote.filesystem import LOCAL, FileSystem

Mode = Literal["run", "batch"]


class Seen:
    """What was read of the plan's data, for whom asks again; it says nothing that could not be read once more."""

    def __init__(self) -> None:
        self.facts: dict[Any, Any] = {}


@dataclass(frozen=True)
class Plan:
    """What will be submitted. Two launches with equal `plan_hash` differ in nothing but the job's id.

    Attributes:
        trained: the config as it identifies the run: without the names of run and directories.
        identity: `trained` without what says for how long, and how often it saves, validates and logs; its hash stands
            in the run's name.
        place: the file system that holds the job's directory.
        here: the job runs on this machine, so its paths can be looked at.
        data_dir: default directory of prepared data, on the side where the job runs.
        deferred: names of variables that the job resolves.
        unset: names in `env` and `secrets` that the submitter's shell lacks.
        image: the container image, in the form that its runtime takes; None where there is none.
        artifacts: key of `run` (data) -> the manifest that it stands for.
        data: what it trains on: `named` and `caches` for the node agent, `allow`, and what data_identity.look() found.
        origin: the checkpoint that it begins from, where `--from` names one: run_name, run_dir, checkpoint, step, path.
        base: `config` as it would be without `overrides`, those of the command line; None where that is not known.
            Like these it is for who explains an error: neither is part of the hash.
        notes: what is known of it beside; no part of the hash either.
        after: the runs whose end the job waits for (launch/waiting.py): of each `run_name`, `run_dir` and
            how its job is found, of which the hash has the name.
        typed: the command line's words for what is launched; no part of the hash.
        promised: (path, who makes it, whether that is done) of what need not be there before the job begins; not part
            of the hash either.
        evaluation: that of the job for each checkpoint (launch/on_checkpoint.py), None without `on_checkpoint`.
        choices: the best points of sweeps that the job takes, chosen when it begins: objects of CHOICE_KEYS.
        mounts: what the job's container sees of the machine around it.
        agent: the node agent's agent.json.
        texts: the files of the job's directory that the launcher writes, beside those in `files` that it copies.
        script: what is handed to the executor, to the byte.
        submit: the command that hands it over, as a line of bash.
    """

    job_id: str
    run_name: str
    mode: Mode
    recipe: Recipe
    config_name: str
    profile_name: str
    profile: Profile
    profile_sources: dict[str, Any]
    job_root: str
    place: FileSystem
    here: bool
    data_dir: str
    image: str | None
    processes_per_node: int
    trained: dict[str, Any]
    config: dict[str, Any]
    provenance: dict[str, Any]
    deferred: tuple[str, ...]
    unset: tuple[str, ...]
    files: tuple[PlannedFile, ...]
    artifacts: dict[str, Any]
    data: dict[str, Any] = field(default_factory=dict)
    identity: dict[str, Any] = field(default_factory=dict)
    origin: dict[str, Any] = field(default_factory=dict)
    base: dict[str, Any] | None = None
    overrides: tuple[str, ...] = ()
    notes: dict[str, Any] = field(default_factory=dict)
    after: tuple[dict[str, Any], ...] = ()
    promised: tuple[tuple[str, str, bool], ...] = ()
    typed: tuple[str, ...] = ()
    choices: tuple[dict[str, Any], ...] = ()
    evaluation: Plan | None = None
    ignored_settings: tuple[str, ...] = ()  # of env.toml's sections: brought along, and without an effect here
    mounts: tuple[Mount, ...] = ()
    agent: dict[str, Any] = field(default_factory=dict)
    texts: dict[str, Any] = field(default_factory=dict)
    script: str = ""
    submit: str = ""
    plan_hash: str = ""
    seen: Seen = field(default_factory=Seen, compare=False, repr=False)

    def __post_init__(self) -> None:
        """Nothing behind the hash can be changed, however deep it lies; so a Plan is hashable, too."""
        for item in fields(self):
            object.__setattr__(self, item.name, freeze(getattr(self, item.name)))

    @property
    def executor(self) -> str:
        """Name of the executor."""
        return self.profile.executor

    @property
    def visible(self) -> bool:
        """The job's file system is one that this machine sees, so that looking costs nothing."""
        return self.place == LOCAL

    @property
    def nodes(self) -> int:
        """Number of nodes."""
        return self.profile.nodes

    @property
    def world_size(self) -> int:
        """Number of training processes over all nodes."""
        return self.nodes * self.processes_per_node

    @property
    def command(self) -> list[str]:
        """What each training process runs; a recipe with `launch = "torchrun"` is started by torchrun."""
        return [self.agent["python"], self.agent["script"], *self.agent["args"]]

    @property
    def job_dir(self) -> str:
        """The job's directory, on the side where the job runs."""
        return f"{self.job_root}/{self.job_id}"

    @property
    def run_dir(self) -> str:
        """The directory that all jobs of one run share."""
        return f"{self.job_root}/{self.run_name}"

    @property
    def pace(self) -> frozenset[str]:
        """Keys of `trained` that are no part of the run's identity, and those that follow them."""
        if not self.identity:
            return frozenset()
        every, same = dict(flatten(self.trained)), dict(flatten(self.identity))
        return frozenset(key for key, value in every.items() if key not in same or same[key] != value)

    def promise(self, path: str) -> str | None:
        """Who makes that path before the job begins; None where it has to be there."""
        return next((who for made, who, _ in self.promised if _is_below(path, made)), None)

    def missing(self, path: str) -> str | None:
        """The same of what is still to be made."""
        return next((who for made, who, done in self.promised if not done and _is_below(path, made)), None)

    def source(self, key: str) -> str:
        """Where a key of the profile was set; the profile itself where nobody did."""
        return str(self.profile_sources.get(key, self.profile_name))

    def document(self) -> dict[str, Any]:
        """The plan as JSON data, with the keys that `--dry-run --json` promises."""
        return {
            "plan_hash": self.plan_hash,
            "job_id": self.job_id,
            "run_name": self.run_name,
            "profile": self.profile_name,
            "recipe": self.recipe.name,
            "config_name": self.config_name,
            "mode": self.mode,
            "executor": self.executor,
            "nodes": self.nodes,
            "processes_per_node": self.processes_per_node,
            "world_size": self.world_size,
            "launch": self.recipe.launch,
            "command": self.command,
            "submit": self.submit,
            "script": self.script,
            "config": yamlio.json_value(self.config),
            "provenance": self.provenance,
            "kept_for_the_job": list(self.deferred),
            "artifacts": {key: artifacts.name_of(manifest) for key, manifest in self.artifacts.items()},
            "data": {"identity": self.data.get("digest"), "files": len(self.data.get("rows", ()))},
            **({"origin": dict(self.origin)} if self.origin else {}),
            "files": [{"path": f.path, "bytes": f.bytes, "sha256": f.sha256} for f in self.files]
            + [_described(path, text) for path, text in self.texts.items()],
            "env": sorted({*self.agent["env"], *self.profile.env, *self.profile.secrets}),
            "secrets": list(self.profile.secrets),
            "mounts": [mount.text for mount in self.mounts],
            "container_image": self.image,
            **({"on_checkpoint": self.evaluation.recipe.name} if self.evaluation else {}),
            **({"after": [run["run_name"] for run in self.after]} if self.after else {}),
            "job_dir": self.job_dir,
            "run_dir": self.run_dir,
            "profile_values": self.profile.model_dump(mode="json", exclude_defaults=True),
            "profile_sources": self.profile_sources,
        }


def _is_below(path: str, folder: str) -> bool:
    return f"{path.rstrip('/')}/".startswith(f"{folder.rstrip('/')}/")


def _described(path: str, text: str) -> dict[str, Any]:
    content = text.encode("utf-8", "surrogateescape")
    return {"path": path, "bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
