"""Plans what people bring along: AutoModel's example YAMLs, and the env.toml files of Nemotron's documentation.

    python -m tests.tools.plan_brought_along automodel CHECKOUT
    python -m tests.tools.plan_brought_along nemotron CHECKOUT

CHECKOUT is a work tree of github.com/NVIDIA-NeMo/Automodel or .../Nemotron. Nothing is submitted, and no cluster is
asked. An example of AutoModel's is planned on 8 GPUs or, where its parallel sizes want others, on the first of `_SIZES`
that suits it; a profile of Nemotron's with the config `tiny`, and a batch size that suits many GPUs. Printed: how many
are planned, how many of these a check refuses, how many are refused before there is a plan, and why; and which other
findings there are. The exit code is 1 where one is refused before there is a plan.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import tomli
import yaml

from automodel_launch import api
from automodel_launch.errors import LaunchError
from automodel_launch.plan.finding import Finding
from automodel_launch.profile.keys import EXECUTORS, SECTION_NAMES

_FOLDERS = ("llm_benchmark", "llm_finetune", "llm_kd", "llm_pretrain")
_SIZES = [(1, 8), (1, 4), (1, 2), (1, 1), *((nodes, 8) for nodes in (2, 4, 8, 16, 32, 64, 128, 256))]
_BATCH = "step_scheduler.global_batch_size=6144"
_SHELL = {"HF_TOKEN": "hf_of_nobody", "NVIDIA_API_KEY": "key_of_nobody", "USER": "me"}  # the examples want these
_CLUSTER = '[cluster]\nexecutor = "slurm"\naccount = "a"\npartition = "p"\ntime = "04:00:00"\nremote_job_dir = "{}"\n'


class Tally:
    """What became of each, by its name."""

    def __init__(self) -> None:
        self.planned = 0
        self.faulty: dict[str, str] = {}
        self.refused: dict[str, str] = {}
        self.codes: Counter[str] = Counter()

    def plan(self, name: str, findings: Callable[[], list[Finding]]) -> None:
        """Make one, and keep what the checks say."""
        try:
            found = findings()
        except LaunchError as error:
            self.refused[name] = f"{error.message} {error.hint or ''}"
            return
        self.planned += 1
        self.codes.update({f"{finding.level} {finding.code}" for finding in found})
        errors = [f"[{finding.code}] {finding.message}" for finding in found if finding.level == "error"]
        if errors:
            self.faulty[name] = errors[0]

    def show(self, what: str) -> int:
        """Print it; the exit code."""
        print(f"{self.planned} of {self.planned + len(self.refused)} {what} are planned")
        print(f"{len(self.faulty)} of these are refused by a check:")
        for name, why in [*sorted(self.faulty.items()), ("", ""), *sorted(self.refused.items())]:
            print(f"  {name}: {why}" if name else f"{len(self.refused)} are refused before there is a plan:")
        for code, count in self.codes.most_common():
            print(f"  {count:>4} x {code}")
        return 1 if self.refused else 0


def automodel(checkout: Path, folder: Path) -> int:
    """Every example of AutoModel's recipes for language models."""
    env_file = folder / "env.toml"
    env_file.write_text(_CLUSTER.format(folder / "jobs"))
    tally = Tally()
    for path in sorted(file for name in _FOLDERS for file in (checkout / "examples" / name).rglob("*.yaml")):
        tally.plan(str(path.relative_to(checkout / "examples")), partial(_fitting, path, env_file))
    return tally.show("examples of AutoModel")


def _fitting(path: Path, env_file: Path) -> list[Finding]:
    """The findings about an example, on the first number of GPUs that suits its parallel sizes."""
    best: list[Finding] | None = None
    for nodes, gpus in _SIZES:
        found = _findings(env_file, "cluster", path, f"run.env.nodes={nodes}", f"run.env.gpus_per_node={gpus}")
        if best is None or _errors(found) < _errors(best):
            best = found
        if not _errors(best):
            break
    return best or []


def _errors(findings: list[Finding]) -> int:
    return sum(finding.level == "error" for finding in findings)


def _findings(env_file: Path, profile: str, config: Path | str, *overrides: str) -> list[Finding]:
    options: dict[str, Any] = {"offline": True, "env_file": str(env_file), "environ": {**os.environ, **_SHELL}}
    return api.check(api.plan("pretrain", config, profile, list(overrides), **options), offline=True)


def nemotron(checkout: Path, folder: Path) -> int:
    """Every profile of every env.toml in the documentation, and of the one that Nemotron's generator writes."""
    tally, elsewhere = Tally(), Tally()
    for number, (source, text) in enumerate(_env_tomls(checkout)):
        env_file = folder / f"env-{number}.toml"
        env_file.write_text(text, encoding="utf-8")
        for name, executor in _profiles(text):
            to = tally if executor in EXECUTORS else elsewhere
            to.plan(f"{source} [{name}]", partial(_findings, env_file, name, "tiny", _BATCH))
    elsewhere.show("profiles for other executors")
    return tally.show("profiles of Nemotron")


def _env_tomls(checkout: Path) -> Iterator[tuple[str, str]]:
    for path in sorted((checkout / "docs").rglob("*.md")):
        for number, block in enumerate(re.findall(r"```toml\n(.*?)```", path.read_text(encoding="utf-8"), re.S), 1):
            if re.search(r"^executor *=|^extends *=", block, re.M):
                yield f"{path.relative_to(checkout)} #{number}", block
    generator = checkout / "src/nemotron/steps/env/env_toml/config/slurm.yaml"
    yield str(generator.relative_to(checkout)), _generated(yaml.safe_load(generator.read_text())["sections"])


def _generated(sections: Mapping[str, Mapping[str, Any]]) -> str:
    """The env.toml that the generator makes of its YAML: a table a section, tables inside as inline ones."""
    lines = []
    for name, table in sections.items():
        lines += [f"[{name}]", *(f"{key} = {_toml(value)}" for key, value in table.items())]
    return "\n".join(lines) + "\n"


def _toml(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{key} = {_toml(entry)}" for key, entry in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(_toml(entry) for entry in value) + "]"
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, int | float) else '"' + str(value).replace('"', '\\"') + '"'


def _profiles(text: str) -> Iterator[tuple[str, str]]:
    """(name, executor) of each profile of an env.toml, but of fragments whose parent stands elsewhere."""
    tables = {name: table for name, table in tomli.loads(text).items() if name not in SECTION_NAMES}
    for name, table in tables.items():
        top = table
        while "executor" not in top and top.get("extends") in tables:
            top = tables[top["extends"]]
        if "executor" in top:
            yield name, top["executor"]


def main() -> int:
    """Plan them, and tell how it went."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("what", choices=("automodel", "nemotron"))
    parser.add_argument("checkout", type=Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        return (automodel if args.what == "automodel" else nemotron)(args.checkout, Path(folder))


if __name__ == "__main__":
    sys.exit(main())
