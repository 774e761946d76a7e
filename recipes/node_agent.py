#!/usr/bin/env python3
"""The one program that an executor starts, once a node: supervisor of this node's training processes.

    node_agent.py run SPEC.json [--detach]    supervise this node's part of the job
    node_agent.py worker SCRIPT [ARGS...]     what torchrun starts as each rank (internal)
    node_agent.py record JOB_DIR NODE ATTEMPT beside the ranks, of their Python: environment.json (internal)
    node_agent.py begin JOB_DIR               shell lines for the batch script; queues the next attempt
    node_agent.py watch JOB_DIR               beside the batch script: a job for each checkpoint (on_checkpoint)
    node_agent.py finish JOB_DIR [--code N]   merge nodes/*.json into exit.json where that is still missing

Standard library only, Python 3.8 or later: it runs inside any container before anything is set up. Exit codes: `run`
and `finish` end with the job's code (see node_agent_lib/verdict.py); 2 means that the command line or spec is wrong.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

_FILE = Path(__file__).resolve()
if str(_FILE.parent) not in sys.path:  # PYTHONSAFEPATH leaves the script's directory out
    sys.path.insert(0, str(_FILE.parent))

_ALL_OURS = (["run"], ["begin"], ["finish"], ["record"])  # a rank's script has threads, handlers and files of its own


def main(argv: list[str]) -> int:
    """Dispatch to one of the commands; `worker` comes first because its arguments belong to the script."""
    if len(argv) >= 2 and argv[0] == "worker":
        from node_agent_lib import worker

        return worker.main(argv[1], argv[2:])
    if argv[:1] == ["run"]:
        return _run(argv[1:])
    if argv[:1] == ["record"] and len(argv) == 4 and all(word.isdigit() for word in argv[2:]):
        from node_agent_lib import what_ran

        return what_ran.main(argv[1], int(argv[2]), int(argv[3]))
    if argv[:1] == ["begin"] and len(argv) == 2:
        from node_agent_lib import begin

        _hide_secrets()
        return begin.main(argv[1])
    if argv[:1] == ["track"] and len(argv) == 5:  # internal, ends with its standard input
        from node_agent_lib import track_send

        return track_send.main(*argv[1:])
    if argv == ["notify"]:  # internal: a request on standard input
        from node_agent_lib import notify_send

        return notify_send.main()
    if argv[:1] == ["watch"] and len(argv) == 2:
        from node_agent_lib import on_checkpoint

        _hide_secrets()
        return on_checkpoint.main(argv[1])
    if argv[:1] == ["finish"]:
        return _finish(argv[1:])
    return _usage()


def _run(argv: list[str]) -> int:
    detach = "--detach" in argv
    paths = [arg for arg in argv if arg != "--detach"]
    if len(paths) != 1 or paths[0].startswith("-"):
        return _usage()
    if os.environ.get("SLURM_JOB_NUM_NODES", "1") != "1":
        sys.dont_write_bytecode = True  # `begin` has written it, once for all nodes

    from node_agent_lib import start

    return start.main(paths[0], detach, str(_FILE))


def _finish(argv: list[str]) -> int:
    code: int | None = None
    if len(argv) == 3 and argv[1] == "--code" and argv[2].isdigit():
        code = int(argv[2])
    elif len(argv) != 1:
        return _usage()
    from node_agent_lib import finish

    _hide_secrets()
    return finish.main(argv[0], code)


def _hide_secrets() -> None:
    from node_agent_lib import redaction

    redaction.arm_environment(os.environ)


def _usage() -> int:
    usage = (__doc__ or "").partition("\n\n")[2].partition("\n\n")[0]  # PYTHONOPTIMIZE=2 leaves none
    print("usage:\n" + usage, file=sys.stderr)
    return 2


def _end(code: int) -> None:
    """As sys.exit, without the interpreter's clearing up, a tenth of what a short command takes."""
    try:
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()
    except (OSError, ValueError):
        return  # it tells by the exit code that something was not written
    os._exit(code)


if __name__ == "__main__":
    CODE = main(sys.argv[1:])
    if sys.argv[1:2] in _ALL_OURS:
        _end(CODE)
    sys.exit(CODE)
