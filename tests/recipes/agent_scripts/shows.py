"""Write what this process was given to the file named first."""

import json
import os
import resource
import sys
from pathlib import Path

NAMES = ("CORE", "NOFILE", "STACK")
mask = os.umask(0o022)
os.umask(mask)
seen = {
    "argv": sys.argv,
    "cwd": str(Path.cwd()),
    "path0": sys.path[0],
    "env": dict(os.environ),
    "name": __name__,
    "umask": mask,
    "limits": {name: resource.getrlimit(getattr(resource, f"RLIMIT_{name}")) for name in NAMES},
}
Path(f"{sys.argv[1]}-{os.environ['RANK']}").write_text(json.dumps(seen))
