"""`waits.py DIRECTORY MODE`: says that it runs, then waits for SIGTERM and saves, or ignores it (MODE stubborn).

With MODE stray it first leaves a grandchild in a session of its own, as a badly behaved library would.
"""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType

directory, mode = Path(sys.argv[1]), sys.argv[2]
rank = os.environ["RANK"]
terms = 0


def stop(_signum: int, _frame: "FrameType | None") -> None:
    """Count, so that the test sees one signal and not two."""
    global terms
    terms += 1


signal.signal(signal.SIGTERM, signal.SIG_IGN if mode == "stubborn" else stop)
if mode == "stray":
    subprocess.Popen(["setsid", "sh", "-c", "trap '' TERM; sleep 600 & wait"], start_new_session=True)
(directory / f"pid-{rank}").write_text(str(os.getpid()))
(directory / f"pid-{rank}").rename(directory / f"ready-{rank}")  # there is never half of it
while not terms:
    time.sleep(0.05)
time.sleep(0.5)
(directory / f"saved-{rank}").write_text(str(terms))
