"""Probes of a Slurm cluster (its controller, partitions, nodes and accounts), and parsers of their output."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from automodel_launch.remote.slurm_environment import PLAIN

PARTITIONS = f"{PLAIN}scontrol -a -o show partition"
NODES = f"{PLAIN}sinfo -a -h -o '%R|%D|%T|%G'"
OPTIONS = "sbatch --help | grep -oE -- '--[a-z][a-z0-9-]+'"  # plug-ins' own among them
PROBES = {
    "version": "sbatch --version",
    "ping": f"{PLAIN}scontrol ping",
    "partitions": PARTITIONS,
    "nodes": NODES,
    "enforced": f"{PLAIN}scontrol show config | grep -i '^AccountingStorageEnforce'",
    "accounts": PLAIN + 'sacctmgr -n -P show assoc user="$(id -un)" format=account',
    "sacct": f"{PLAIN}sacct -n -X -S now",
    "pyxis": "srun --help | grep -- --container-image",
}
# From standard input, so that no script's name is in the output; without a controller sbatch would retry for long.
TEST_ONLY = f'{PLAIN}out=$(scontrol ping 2>&1) || {{ echo "$out"; exit 1; }}; sbatch --test-only <&3'

_NO_ANSWER = re.compile(
    r"is DOWN|unable to contact|socket timed out|zero bytes|connection refused|connect failure|command not found"
    r"|establish a configuration source",  # Slurm's commands without a slurm.conf
    re.I,
)
_BROKEN = ("down", "drain", "fail", "maint", "unk", "inval", "error")
_IDLE = ("idle", "planned")
_TIME = re.compile(r"(?:(?P<days>\d+)-)?(?P<rest>\d+(?::\d+){0,2})")


@dataclass(frozen=True)
class Partition:
    """A partition; `max_minutes` is None where time is not limited."""

    name: str
    state: str
    max_minutes: int | None
    default: bool


@dataclass(frozen=True)
class Nodes:
    """Nodes of one partition that are alike."""

    partition: str
    count: int
    state: str
    gpus: int

    @property
    def up(self) -> bool:
        """Jobs can run there, now or after others; `*` marks nodes that do not answer."""
        return not self.state.startswith(_BROKEN) and not self.state.endswith("*")

    @property
    def idle(self) -> bool:
        """Jobs can start there now."""
        return self.up and self.state.startswith(_IDLE)


def controller_answers(ping: str) -> bool:
    """One controller of several is enough."""
    return " is UP" in ping


def unanswered(code: int, text: str) -> bool:
    """The command's output means that Slurm could not be asked, and not that it has refused.

    124 and above are codes of `timeout`, of a shell that finds no such command, and of signals; but 255 is sbatch's own
    for an option that it does not understand (seen with 22.05).
    """
    return 124 <= code < 255 or bool(_NO_ANSWER.search(text))


def lacks_nodes(text: str) -> bool:
    """sbatch's refusal may be for nodes that are down only."""
    return bool(re.search(r"node configuration is not available|node not available|nodes? .*not available", text, re.I))


def options(text: str) -> frozenset[str]:
    """The long options that `sbatch --help` names."""
    return frozenset(line[2:] for line in text.splitlines() if re.fullmatch(r"--[a-z][a-z0-9-]+", line))


def unknown_option(said: str) -> str | None:
    """The option that sbatch says it does not have."""
    match = re.search(r"(?:unrecognized|ambiguous) option:? ['\"]?--([a-z][\w-]*)", said)
    match = match or re.search(r"option ['\"]--([a-z][\w-]*)[^'\"]*['\"] is ambiguous", said)
    return match[1] if match else None


def message(text: str) -> str:
    """sbatch's message, in one line and without the prefixes `sbatch: error:`."""
    return "; ".join(re.sub(r"^(sbatch: |error: |allocation failure: )+", "", line) for line in text.splitlines())


def minutes(text: str) -> int | None:
    """A time limit, rounded up as Slurm does; None where it is no limit or not understood.

    minutes, minutes:seconds, hours:minutes:seconds, days-hours, days-hours:minutes, days-hours:minutes:seconds
    """
    match = _TIME.fullmatch(text.strip())
    if not match:
        return None
    parts = [int(part) for part in match["rest"].split(":")]
    if match["days"] is None:
        hours, mins, secs = parts if len(parts) == 3 else [0, *parts, 0][:3]
    else:
        hours, mins, secs = [*parts, 0, 0][:3]
    seconds = ((int(match["days"] or 0) * 24 + hours) * 60 + mins) * 60 + secs
    return -(-seconds // 60)


def partitions(text: str) -> list[Partition]:
    """From `scontrol -o show partition`."""
    parsed = []
    for line in text.splitlines():
        fields = dict(word.partition("=")[::2] for word in line.split() if "=" in word)
        if "PartitionName" in fields:
            limit = minutes(fields.get("MaxTime", ""))
            default = fields.get("Default") == "YES"
            parsed.append(Partition(fields["PartitionName"], fields.get("State", "?"), limit, default))
    return parsed


def chosen(names: Iterable[str], partitions: Iterable[Partition]) -> list[str]:
    """The partitions that a request names (sbatch takes several, `a,b`), or the default one."""
    wanted = [part for name in names for part in name.split(",") if part]
    return list(dict.fromkeys(wanted or [partition.name for partition in partitions if partition.default]))


def nodes(text: str) -> list[Nodes]:
    """From `sinfo -o %R|%D|%T|%G`."""
    rows = [line.split("|") for line in text.splitlines() if line.count("|") == 3]
    return [Nodes(name, int(count), state.lower(), gpus(gres)) for name, count, state, gres in rows if count.isdigit()]


def gpus(gres: str) -> int:
    """GPUs a node: `gpu:8`, `gpu:h100:8(S:0-1)`, `gpu:a100:4,nvme:1`."""
    return sum(int(count) for count in re.findall(r"(?:^|,)gpu(?::[^:,()]+)?:(\d+)", gres))
