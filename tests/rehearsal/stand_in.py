"""A stand-in for recipes/rehearse.py at the process boundary: it speaks the protocol, and answers what its config says.

`how` in the config: passed, refused, partial, or a way to go wrong; `log`: a file that takes a line a call.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

ANSWER = {
    "schema": 1,
    "outcome": "passed",
    "refusal": None,
    "partial": [],
    "memory": None,
    "versions": {"nemo-automodel": "0.7.0"},
    "ranks": [0],
    "seconds": {"import": 3.0, "optimizer": 0.5},
    "peak_bytes": 1,
}
REFUSAL = {
    "stage": "optimizer",
    "type": "TypeError",
    "text": "AdamW.__init__() got an unexpected keyword argument 'lrr'",
    "file": "/somewhere/lib/python3.11/site-packages/torch/optim/adamw.py",
    "line": 45,
    "source": "    super().__init__(params, defaults)\n",
    "key": "optimizer",
    "key_by": "section",
    "override": None,
    "rank": 0,
}


def main() -> None:
    request = json.load(sys.stdin)
    config = request["config"]
    how = config.get("how", "passed")
    with open(config["log"], "a") as log:
        seen = {"request": request, "environ": dict(os.environ), "cwd": str(Path.cwd()), "pid": os.getpid()}
        log.write(json.dumps({**seen, "beside": sorted(path.name for path in Path(__file__).parent.iterdir())}) + "\n")
    print("a library talks")
    answer = {**ANSWER, **config.get("answer", {})}
    if how == "refused":
        answer |= {"outcome": "refused", "refusal": {**REFUSAL, **config.get("refusal", {})}}
    elif how == "hangs":
        subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        time.sleep(600)
    elif how == "dies":
        sys.exit("torch is broken")
    elif how == "talks":
        print("no JSON")
        return
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
