"""`nodes PROFILE`: nodes that have failed jobs of this cluster, from JOB_ROOT/bad-nodes.jsonl (written by the jobs)."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
import time
from dataclasses import asdict, dataclass

from automodel_launch import contract, executors, workspace
from automodel_launch.errors import ClusterError, ProfileError, UsageError
from automodel_launch.jobs.jobdir import parse
from automodel_launch.profile import profiles
from automodel_launch.profile.validation import validate
from automodel_launch.remote.filesystem import FileSystem


@dataclass(frozen=True)
class BadNode:
    """A node that further attempts keep away from. `since` and `until` are unix seconds."""

    node: str
    since: float
    until: float
    why: str
    job_id: str


def known(job_root: str, place: FileSystem, now: float) -> list[BadNode]:
    """Nodes that are bad now, by name; the last word on a node counts."""
    found = place.read(f"{job_root}/{contract.BAD_NODES}", -(2**20))
    bad: dict[str, BadNode] = {}
    for line in found[0].splitlines() if found else ():
        entry = parse(line) or {}
        name, when = entry.get("node"), entry.get("time")
        if not isinstance(name, str) or not isinstance(when, (int, float)):
            continue
        bad.pop(name, None)
        if not entry.get("forgiven") and now - when < contract.BAD_NODE_S:
            why, job_id = str(entry.get("why", "")), str(entry.get("job_id", ""))
            bad[name] = BadNode(name, when, when + contract.BAD_NODE_S, why, job_id)
    return [bad[name] for name in sorted(bad)]


def nodes(args: argparse.Namespace) -> int:
    """Print them, or take one off the list."""
    here = workspace.find(args.env)
    values, sources = profiles.merge(profiles.load(here.env_file, args.profile).layers(args.profile))
    profile = validate(values, lambda key: f"{key} ({sources.get(key, args.profile)})")
    executor = executors.get(profile.executor)
    if not executor.many_nodes:
        raise ProfileError(f"profile {args.profile}: executor '{profile.executor}' has one node, this machine.")
    root = executor.job_root(profile, here)
    bad = known(root, executor.place(profile), time.time())
    if args.forgive is not None:
        if args.forgive not in {entry.node for entry in bad}:
            listed = ", ".join(entry.node for entry in bad) or "none"
            raise UsageError(f"--forgive {args.forgive}: it is not on the list of bad nodes ({listed}).")
        line = shlex.quote(json.dumps({"time": time.time(), "node": args.forgive, "forgiven": True}))
        done = executor.shell(profile).run(f"echo {line} >> {shlex.quote(f'{root}/{contract.BAD_NODES}')}")
        if done.code:
            raise ClusterError(f"{root}/{contract.BAD_NODES} cannot be written: {done.err.strip()}")
        bad = [entry for entry in bad if entry.node != args.forgive]
    if args.json:
        print(json.dumps([asdict(entry) for entry in bad], indent=1))
        return 0
    for entry in bad:
        print(f"{entry.node}  since {_clock(entry.since)}, until {_clock(entry.until)}  {entry.job_id}: {entry.why}")
    if not bad:
        sys.stderr.write(f"no bad nodes are known in {root}\n")
    return 0


def _clock(when: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(when))
