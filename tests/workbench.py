"""A small workspace, and the straight line from texts to a Plan, for tests that call the launcher's functions."""

from __future__ import annotations

import array
import os
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from automodel_launch.config import configs, overrides
from automodel_launch.config.merge import MergedConfig
from automodel_launch.errors import LaunchError
from automodel_launch.launch import planning
from automodel_launch.plan import recipes
from automodel_launch.plan.plan import Plan
from automodel_launch.plan.recipes import Recipe
from automodel_launch.profile import profiles
from automodel_launch.workspace import Workspace
from tests.conftest import ENV_TOML, STUB, STUB_CONFIG


@dataclass
class Bench:
    """A workspace with the recipe `stub` (torchrun) and the profile `local` (2 processes)."""

    root: Path
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)
    own_recipe: bool = False

    @property
    def workspace(self) -> Workspace:
        """Its folders."""
        return Workspace(self.root, self.root / "recipes", self.root / "configs", self.root / "env.toml")

    @property
    def recipe(self) -> Recipe:
        """The recipe `stub`."""
        return recipes.find(self.workspace, "stub")

    def env(self, text: str, local: bool = True) -> None:
        """Write env.toml, behind the table [local] or alone."""
        self.workspace.env_file.write_text((ENV_TOML if local else "") + text, encoding="utf-8")

    def config(self, text: str, name: str = "t") -> Path:
        """Write configs/stub/NAME.yaml."""
        path = self.root / "configs" / "stub" / f"{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8", newline="")
        return path

    def script(self, name: str, block: str) -> Path:
        """Write recipes/NAME.py with that metadata block (TOML)."""
        lines = "".join(f"# {line}".rstrip() + "\n" for line in block.strip().splitlines())
        path = self.workspace.recipes / f"{name}.py"
        path.write_text(f"# /// script\n{lines}# ///\n")
        return path

    def trains(self, own_recipe: bool = False) -> Bench:
        """Have the recipe's backend be AutoModel, and depend on it, so that its configs are checked as AutoModel's.

        `own_recipe`: configs name a recipe class whose keys are not known, and need not be complete.
        """
        self.own_recipe = own_recipe
        spec = 'backend = "automodel"\n[tool.runspec.run]\nlaunch = "torchrun"\n[tool.runspec.config]\ndir = "stub"'
        dependencies = "[]" if own_recipe else '["nemo-automodel==0.7.0"]'
        self.script("stub", f"dependencies = {dependencies}\n[tool.runspec]\n{spec}")
        return self

    def layered(self, *texts: str, config: str | None = None) -> MergedConfig:
        """The merged config, with overrides."""
        texts = ("+recipe=own.Recipe", *texts) if self.own_recipe else texts
        return configs.load(self.recipe, config, [overrides.parse(text) for text in texts], ["--dry-run"])

    def plan(self, *texts: str, config: str | None = None, profile: str = "local", **options: Any) -> Plan:
        """The plan of `launch.py stub`."""
        env_file = profiles.load(self.workspace.env_file, profile)
        layered = self.layered(*texts, config=config)
        options.setdefault("environ", self.environ)
        return planning.make(self.workspace, env_file, profile, self.recipe, layered, **options)

    def planned(self, text: str, *texts: str, **options: Any) -> Plan:
        """The plan for a config of that text."""
        self.config(text)
        return self.plan(*texts, config="t", **options)


SHELL = {"USER": "me", "SITE_ACCOUNT": "physics", "EMPTY": "", "HOME": "/home/me"}
SITE = 'executor = "slurm"\nnproc_per_node = 2\nremote_job_dir = "/lustre/me/jobs"\n'


def plan_on_slurm(bench: Bench, keys: str, environ: Mapping[str, str] = SHELL, more: str = "") -> Plan:
    """The plan for a profile on Slurm with these keys, which may bring an executor or a job root of their own."""
    bench.env(f"[p]\n{SITE if 'remote_job_dir' not in keys and 'executor' not in keys else ''}{keys}\n{more}")
    return bench.plan(profile="p", environ=environ, offline=True)


def write_pair(prefix: Path, *documents: list[int], code: str = "H", kind: int = 8) -> str:
    """A Megatron bin/idx pair of those documents; `code` is array's, `kind` the .idx's. Returns the prefix."""
    lengths = [len(ids) for ids in documents]
    item, n = array.array(code).itemsize, len(documents)
    ends = [item * sum(lengths[:k]) for k in range(n)]
    index = struct.pack("<9sQBQQ", b"MMIDIDX\0\0", 1, kind, n, n + 1)
    index += struct.pack(f"<{n}i{n}q{n + 1}q", *lengths, *ends, *range(n + 1))
    Path(f"{prefix}.idx").write_bytes(index)
    Path(f"{prefix}.bin").write_bytes(b"".join(array.array(code, ids).tobytes() for ids in documents))
    return str(prefix)


def write_shard(path: Path, ids: list[int]) -> str:
    """A nanoGPT .bin of uint16."""
    head = struct.pack("<4i", 278895051, 1, len(ids), 2).ljust(1024, b"\0")
    path.write_bytes(head + array.array("H", ids).tobytes())
    return str(path)


def make_bench(root: Path) -> Bench:
    """Build a workspace below `root`."""
    bench = Bench(root / "work")
    (bench.root / "recipes").mkdir(parents=True)
    (bench.root / "recipes" / "node_agent.py").write_text("# no recipe\n")
    (bench.root / "recipes" / "stub.py").write_text(STUB.replace("LAUNCH", "torchrun"))
    bench.config(STUB_CONFIG, "default")
    bench.env("")
    return bench


def refused(kind: type[LaunchError], call: Callable[[], object], *words: str) -> str:
    """The message and hint of an error of that kind, which hold each of the words."""
    with pytest.raises(kind) as caught:
        call()
    text = f"{caught.value.message}\n{caught.value.hint or ''}"
    for word in words:
        assert word in text, f"{word!r} is not in {text!r}"
    assert "Traceback" not in text
    return text
