"""`leaves.py OUT`: a child, one in a session of its own and one whose parent has gone; says so, and waits for ever."""

import subprocess
import sys
import time
from pathlib import Path

subprocess.Popen(["sleep", "600"])
subprocess.Popen(["sleep", "600"], start_new_session=True)
subprocess.run(["bash", "-c", "setsid sleep 600 & exit 0"], check=True)
Path(sys.argv[1]).touch()
time.sleep(600)
