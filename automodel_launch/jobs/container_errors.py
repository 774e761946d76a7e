"""Why a container did not start, from what pyxis, enroot and slurmstepd wrote into a job's log."""

from __future__ import annotations

import re

LINES = r"pyxis|enroot|execve\(\)"  # as grep -E takes it
_SPEAKER = re.compile(r"^(\S*slurmstepd\S*: |srun: )*(error: )?(pyxis: *)?")
_ADVICE = (
    (r"execve\(\): (python3|sh)\b|python3: No such", "the node agent needs sh and a Python, 3.8 or later, on the PATH "
     "of the node or its image"),
    (r"execve\(\): \S*(apptainer|singularity)", 'a compute node lacks it; where a module brings it: '
     'container_runtime = "/path/of/apptainer"'),
    (r"import docker image|manifest unknown|401|403|URL .* returned error", "is the image's name right, and who may "
     "read it in ~/.config/enroot/.credentials on the cluster?"),
    (r"mount source|failed to mount|mount:.*(No such|failed)", "each source in `mounts` must be there on all nodes"),
    (r"squash|\.sqsh|container image", "is the image's file whole, and on a file system of all nodes?"),
)  # fmt: skip
# As executors/mounts.py has bash say it.
_UNSET = re.compile(r"\b(\w+): is not set, and mounts or container_image name it$", re.MULTILINE)


def words(log: str) -> str | None:
    """The line that tells most, with what to do; None where no container is spoken of."""
    unset = _UNSET.search(log)
    if unset:
        return (
            f"{unset[1]} is not set in a login shell there, and mounts or container_image name it; write the path out"
        )
    lines = [line.strip() for line in log.splitlines() if re.search(LINES, line) and "error" in line.lower()]
    lines = [line for line in lines if "execve(): hostname" not in line]  # NeMo-Run's script, which goes on without it
    own = [line for line in lines if "[ERROR]" in line]  # enroot's, which pyxis passes on
    if not lines:
        return None
    text = _SPEAKER.sub("", (own or lines)[0]).replace("[ERROR]", "").strip()[:300]
    advice = next((advice for pattern, advice in _ADVICE if re.search(pattern, text)), None)
    return f"{text}; {advice}" if advice else text
