"""A launch out of a small YAML file: what tests/test_faults.py checks, and try_real.py gives to the real part.

A file of tests/faults/ is a faulty launch, one of tests/faults/valid/ a valid one. README.md tells the keys at length:

    wrong, or right   one sentence: what is wrong, or what the launch stands for
    recipe, config, overrides, mode   the command line; a config is the name of a shipped one, of one in
                      tests/faults/configs/, or a text of several lines
    profile, keys     a table of BASE below and TOML lines for it; or `env`: the whole of env.toml
    environ, cwd      variables of the shell (null: unset) and its directory
    files, commit     what lies in HERE before the launch, and what of it is committed to git
    slurm             what Slurm's commands answer where it is not what slurm.yml has
    code, level       the finding that must be among them; or `exit: 2`: refused before there is a plan; `words` of it
                      (`code: rehearsal`: no check finds it, a rehearsal does)
    also              codes of other errors that the same fault causes
    part, ranks       what is to try it for real, and on how many ranks
    tried, recorded   what that did, and Slurm's own words where it refused; try_real.py writes both

HERE stands for the own directory of a case, DATA for one with whole data and a tokenizer, CONFIGS for configs/ here.
"""

from __future__ import annotations

import contextlib
import copy
import io
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any, Literal
from unittest import mock

import yaml

from automodel_launch import checks
from automodel_launch.checks import Finding
from automodel_launch.commands import preview
from automodel_launch.commands.preview import View
from automodel_launch.config import configs, overrides, yamlio
from automodel_launch.errors import LaunchError
from automodel_launch.launch import planning
from automodel_launch.plan import recipes
from automodel_launch.plan.plan import Plan
from automodel_launch.profile import profiles
from automodel_launch.remote import disk
from automodel_launch.workspace import Workspace
from tests.faults import files
from tests.recipes.pretrain_fixtures import write_megatron, write_nanogpt

FOLDER = Path(__file__).parent
ROOT = FOLDER.parents[1]
BASE = {
    "here": 'executor = "local"\nnproc_per_node = 2\ndata_dir = "DATA"\n',
    "site": (
        'executor = "slurm"\naccount = "research"\npartition = "batch"\nnodes = 1\ngpus_per_node = 8\n'
        'nproc_per_node = 2\ntime = "00:05:00"\nremote_job_dir = "HERE/jobs"\ndata_dir = "DATA"\n'
    ),
    "docker": 'executor = "docker"\ngpus_per_node = 0\nnproc_per_node = 2\ndata_dir = "DATA"\n',
}
BARE = 'container_image = "none"\n'


@dataclass(frozen=True)
class Launch:
    """One file; see the module's text for the keys."""

    name: str
    wrong: str = ""
    right: str = ""
    recipe: str = "pretrain"
    config: str = "small"
    overrides: tuple[str, ...] = ()
    mode: Literal["run", "batch"] = "run"
    profile: str = "here"
    keys: str = ""
    env: str = ""
    environ: Mapping[str, str | None] = field(default_factory=dict)
    cwd: str = ""
    files: Mapping[str, Any] = field(default_factory=dict)
    commit: tuple[str, ...] = ()
    slurm: Mapping[str, str] = field(default_factory=dict)
    code: str = ""
    level: str = "error"
    exit: int = 0
    words: tuple[str, ...] = ()
    also: tuple[str, ...] = ()
    part: str = ""
    ranks: int = 0
    recorded: Mapping[str, Any] = field(default_factory=dict)
    tried: Mapping[str, str] = field(default_factory=dict)


_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # hundreds of files, whenever tests are collected


def read(path: Path) -> Launch:
    """One launch.

    Raises:
        TypeError: a key that a launch does not have.
    """
    content = yaml.load(path.read_text(encoding="utf-8"), _LOADER)
    for key in ("overrides", "words", "also", "commit"):
        if key in content:
            content[key] = tuple(content[key])
    return Launch(name=path.stem, **content)


@cache
def faulty() -> list[Launch]:
    """All faulty launches, by name."""
    return [read(path) for path in sorted(FOLDER.glob("*.yaml"))]


@cache
def valid() -> list[Launch]:
    """All valid launches, by name."""
    return [read(path) for path in sorted((FOLDER / "valid").glob("*.yaml"))]


@dataclass(frozen=True)
class Stage:
    """Where a launch is set up: its own directory, and what all of them share."""

    here: Path
    data: Path
    recipes: Path

    def text(self, written: str) -> str:
        """A text of a launch with the real directories."""
        written = written.replace("HERE", str(self.here)).replace("DATA", str(self.data))
        return written.replace("CONFIGS", str(FOLDER / "configs"))

    @property
    def workspace(self) -> Workspace:
        """The launch's checkout: HERE, with the recipes and configs of this one."""
        return Workspace(self.here, self.recipes, ROOT / "configs", self.here / "env.toml")


def share(folder: Path) -> tuple[Path, Path]:
    """DATA, and recipes/ outside of any repository; once for many launches."""
    data, copied = folder / "data", folder / "recipes"
    shutil.copytree(ROOT / "recipes", copied, ignore=shutil.ignore_patterns("__pycache__"))
    shards = data / "tiny" / "megatron"
    shards.mkdir(parents=True)
    for name, documents in (("train", 150), ("valid", 50)):
        write_megatron(shards / name, files.documents(documents, 50, files.VOCABULARY - 1))
    blend = {"train": ["1.0", str(shards / "train")], "valid": ["1.0", str(shards / "valid")]}
    (shards / "blend.json").write_text(json.dumps(blend))
    files.tokenizer(data / "tiny" / "tokenizer")
    shard = data / "nanogpt" / "latest" / "train" / "train_00000.bin"
    shard.parent.mkdir(parents=True)
    write_nanogpt(shard, [number % files.VOCABULARY for number in range(9000)])
    return data, copied


def set_up(launch: Launch, stage: Stage) -> None:
    """Write env.toml and the files of a launch."""
    stage.here.mkdir(parents=True)
    env = launch.env or f"[{launch.profile}]\n{BASE[launch.profile]}{launch.keys}"
    if launch.profile == "site" and "container_image" not in env:
        env += BARE
    elif launch.profile == "here" and launch.recipe.endswith("-bridge") and "python =" not in env:
        env += f'python = "{_bridge_python(stage)}"\n'
    (stage.here / "env.toml").write_text(stage.text(env))
    for name, content in launch.files.items():
        files.make(Path(stage.text(name) if name.startswith("DATA") else stage.here / name), content, stage.text)
    if launch.commit:
        files.commit(stage.here, launch.commit)


def _bridge_python(stage: Stage) -> Path:
    """The Python of a job that trains with Megatron-Bridge, as far as checks ask it: what is installed."""
    path = stage.here / ".python"
    path.write_text("""#!/bin/sh\necho '[[3, 11, 0], {"megatron-bridge": "0.3.1"}]'\n""")
    path.chmod(0o755)
    return path


@contextlib.contextmanager
def shell(launch: Launch, stage: Stage) -> Iterator[None]:
    """The launch's own environment and directory; Slurm's commands are the recorded ones."""
    path = f"{_commands(launch, stage)}:{os.environ['PATH']}" if launch.profile == "site" else os.environ["PATH"]
    given = {name: stage.text(value) for name, value in launch.environ.items() if value is not None}
    environ = {**os.environ, "PATH": path, "HF_HOME": str(stage.data / "hf"), **given}
    for name in ("PRETRAIN_BLEND_PATH", "NANOGPT_BIN_PATTERN", "HF_TOKEN", "WANDB_API_KEY", "RANK", "WORLD_SIZE"):
        if name not in given:
            environ.pop(name, None)
    before = Path.cwd()
    os.chdir(stage.text(launch.cwd) or stage.here)
    try:
        with (
            mock.patch.dict(os.environ, environ, clear=True),
            mock.patch.object(yamlio, "read", _read),
            mock.patch.object(disk, "local", lambda root: replace(_DISK(root), free=FREE)),
        ):
            yield
    finally:
        os.chdir(before)


FREE = 2 * 10**12
"""Bytes that are free wherever a launch writes, whatever this machine has left."""
_DISK = disk.local
_READ = yamlio.read
_read_once = cache(_READ)


def _read(path: Path) -> yamlio.Document:
    """This checkout's own configs are parsed once for all launches: it takes longer than their checks."""
    return copy.deepcopy(_read_once(path)) if path.is_relative_to(ROOT) else _READ(path)


def plan(launch: Launch, stage: Stage, name: str | None = None) -> Plan:
    """The plan of a launch, as launching.py makes it; inside `shell`."""
    workspace = stage.workspace
    env_file = profiles.load(workspace.env_file, launch.profile)
    recipe = recipes.find(workspace, launch.recipe)
    given = [overrides.parse(stage.text(text)) for text in launch.overrides]
    layered = configs.load(recipe, config(launch, stage), given, ["--dry-run", "--run", "--batch"])
    return planning.make(workspace, env_file, launch.profile, recipe, layered, mode=launch.mode, name=name)


def config(launch: Launch, stage: Stage) -> str:
    """What -c is given."""
    if "\n" in launch.config:
        path = stage.here / "case.yaml"
        path.write_text(stage.text(launch.config))
        return str(path)
    own = FOLDER / "configs" / f"{launch.config}.yaml"
    return str(own) if own.is_file() else stage.text(launch.config)


def check(launch: Launch, stage: Stage) -> list[Finding] | LaunchError:
    """All findings about a launch, or what refused it before there was a plan."""
    set_up(launch, stage)
    with shell(launch, stage):
        try:
            return checks.run(plan(launch, stage))
        except LaunchError as error:
            return error


@dataclass(frozen=True)
class Asked:
    """What `check` says of a launch, and what its dry run shows: in brief, and in full with the script at its end."""

    found: list[Finding] | LaunchError
    shown: tuple[str, str] | Exception | None = None
    script: str = ""


def ask(launch: Launch, stage: Stage) -> Asked:
    """One plan, checked and shown, where there is one."""
    set_up(launch, stage)
    with shell(launch, stage):
        try:
            made = plan(launch, stage)
            found = checks.run(made)
        except LaunchError as error:
            return Asked(error)
        try:
            shown = _shown(made, found, View(offline=True)), _shown(made, found, View(full=True))
        except Exception as error:  # for the test that it is a fault of
            return Asked(found, error)
        return Asked(found, shown, made.script)


def _shown(made: Plan, found: list[Finding], view: View) -> str:
    out = io.StringIO()
    with contextlib.redirect_stdout(out), mock.patch.dict(os.environ, {"COLUMNS": "80"}):
        preview.show(made, found, view)
    return out.getvalue()


# Slurm's commands


@cache
def recorded() -> dict[str, Any]:
    """What a real Slurm answered (slurm.yml names it)."""
    found: dict[str, Any] = yaml.safe_load((FOLDER / "slurm.yml").read_text())
    return found


def _commands(launch: Launch, stage: Stage) -> Path:
    """A folder with sbatch, scontrol, sinfo srun and stat, which say what those of a real cluster said."""
    folder = stage.here / ".slurm"
    folder.mkdir()
    answers = {**recorded(), **launch.slurm, **launch.recorded}
    for name in ("sbatch", "scontrol", "sinfo", "srun", "stat"):
        text = answers[name] if name != "scontrol" else answers["partitions"]
        (folder / f"{name}.txt").write_text(text)
        body = f"cat {folder}/{name}.txt"
        if name == "scontrol":
            body = f'[ "$1" = ping ] && echo "Slurmctld(primary) at c0 is UP" || {body}'
        if name == "stat":  # of a file it is the machine's own
            body = f'[ "$1" = -f ] || exec {shutil.which("stat")} "$@"; {body}'
        if name == "sbatch":
            body = f"cat > /dev/null; {body} >&2; exit {launch.recorded.get('code', 0)}"
        (folder / name).write_text(f"#!/bin/sh\n{body}\n")
        (folder / name).chmod(0o755)
    return folder
