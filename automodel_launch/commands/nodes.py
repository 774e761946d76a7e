"""`nodes PROFILE`: nodes that have failed jobs of this cluster; `--forgive NODE` takes one off the list."""

from __future__ import annotations

import argparse
import json
import shlex
import time
from dataclasses import asdict

from automodel_launch import contract
from automodel_launch.commands import console
from automodel_launch.commands.command import Option
from automodel_launch.commands.one_profile import Chosen, ProfileCommand
from automodel_launch.errors import ClusterError, ProfileError, UsageError
from automodel_launch.jobs import bad_nodes


class Nodes(ProfileCommand):
    """The list of bad nodes that the jobs of a job root keep."""

    name = "nodes"
    options = (Option(("--forgive",), "take this node off the list", "NODE"),)

    def run(self, args: argparse.Namespace) -> int:
        """Print them, or take one off the list."""
        chosen = self.choose(args)
        executor = chosen.executor
        if not executor.many_nodes:
            kind = chosen.profile.executor
            raise ProfileError(f"profile {chosen.name}: executor '{kind}' has one node, this machine.")
        root = executor.job_root(chosen.profile, chosen.here)
        bad = bad_nodes.known(root, executor.place(chosen.profile), time.time())
        if args.forgive is not None:
            _forgive(chosen, root, args.forgive, [entry.node for entry in bad])
            bad = [entry for entry in bad if entry.node != args.forgive]
        if args.json:
            console.document([asdict(entry) for entry in bad])
            return 0
        for entry in bad:
            since, until = console.clock(entry.since), console.clock(entry.until)
            console.out(f"{entry.node}  since {since}, until {until}  {entry.job_id}: {entry.why}")
        if not bad:
            console.say(f"no bad nodes are known in {root}")
        return 0


def _forgive(chosen: Chosen, root: str, node: str, listed: list[str]) -> None:
    if node not in listed:
        raise UsageError(f"--forgive {node}: it is not on the list of bad nodes ({', '.join(listed) or 'none'}).")
    line = shlex.quote(json.dumps({"time": time.time(), "node": node, "forgiven": True}))
    path = f"{root}/{contract.BAD_NODES}"
    file = shlex.quote(path)
    torn = f'[ -z "$(tail -c 1 {file} | tr -d "\\n")" ] || echo'  # half a line that a killed writer has left
    done = chosen.executor.shell(chosen.profile).run(f"{{ {torn}; echo {line}; }} >> {file}")
    if done.code:
        raise ClusterError(f"{path} cannot be written: {done.err.strip()}")


COMMAND = Nodes()
