"""Looks at, verifies, removes, exports and uploads the checkpoints of a run, where they lie.

    checkpoints.py < request.json

One JSON request on standard input, one JSON answer as the last line of standard output. `launch.py checkpoints` sends
it, with checkpoint_lib/ and contract.py, to where the checkpoints are, a login node for example. It needs the standard
library of Python 3.8 and nothing else, but for an export that has to put shards together (nemo_automodel) and for an
upload (huggingface_hub). An answer with `error` says in a line what was wrong, and in `fix` what mends it.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import threading
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

from checkpoint_lib import exporting, listing, removal, uploading
from checkpoint_lib.stopped import Stopped

DO = {
    "list": listing.answer,
    "verify": listing.verify,
    "source": listing.source,
    "remove": removal.answer,
    "export": exporting.answer,
    "push": uploading.answer,
}
_LOOK_S = 1.0


def main() -> int:
    """Answer the request; 0 whenever there is an answer."""
    request = json.load(sys.stdin)
    threading.Thread(target=_end_with_parent, args=(os.getppid(), request.get("scratch")), daemon=True).start()
    try:
        answer = DO[request["do"]](request)
    except Stopped as stopped:
        answer = {"error": str(stopped), "fix": stopped.fix}
    except OSError as error:
        answer = {"error": f"{error.filename or request.get('folder')}: {error.strerror or error}", "fix": None}
    print(json.dumps(answer), flush=True)
    return 0


def _end_with_parent(parent: int, scratch: Any) -> None:
    """Whoever asked is gone (Ctrl-C, a broken connection): nothing goes on unseen, and nothing half stays."""
    while os.getppid() == parent:
        time.sleep(_LOOK_S)
    for path in exporting.UNFINISHED:
        shutil.rmtree(path, ignore_errors=True)
    if scratch:
        shutil.rmtree(scratch, ignore_errors=True)
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main())
