"""Rehearses a training: AutoModel's own set-up and one step, at full world size, in one process, on fake tensors.

    rehearse.py < REQUEST

REQUEST is one JSON object (rehearse_lib/request.py has its fields); the last line of standard output is the result, one
JSON object as well (rehearse_lib/result.py). It needs no GPU, no weights and no network, runs no command, and writes
nothing outside a directory of its own, which is gone at the end. It ends within the request's `seconds` and `bytes`.

What AutoModel, torch or transformers would refuse in the job is refused here by their own code: `outcome` is "refused".
It is "passed" where nothing was, "partial" where something could not be tried (`partial` says what, and why), and
"not-rehearsed" where nothing could, for example with a release of AutoModel that this was not tested with.

The exit code is 0 whenever there is a result, and 2, with one line on standard error, for a request that cannot be
understood. It belongs to the cluster's side: it needs nemo_automodel, and nothing of the launcher.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

import contract
from rehearse_lib import parent, request


def main(argv: list[str] | None = None) -> int:
    """Runs the command line; returns the exit code."""
    if (sys.argv[1:] if argv is None else argv) == ["--worker"]:
        from rehearse_lib import worker

        return worker.main()
    try:
        asked = request.read(sys.stdin.read())
    except request.BadRequest as error:
        print(f"rehearse: {error}", file=sys.stderr)
        return contract.CANNOT_BE_USED
    print(json.dumps(parent.rehearse(asked)), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
