"""A Python that the image's own PATH has, and a login shell has hidden.

enroot, which makes pyxis's containers, starts a login shell in them. Debian's /etc/profile sets PATH anew, so a virtual
environment that an image has on its PATH alone (ENV PATH in its Dockerfile) is lost, and another `python3` is taken.
Docker and apptainer keep it. enroot leaves the image's variables in /etc/environment.
"""

from __future__ import annotations

import os
import re
import shutil
from typing import Mapping

from .patterns import pattern

ENVIRONMENT = "/etc/environment"
_INSIDE = "/nemo_run"  # where a job's directory stands in a container
_OTHER_MAKERS = (b"APPTAINER_CONTAINER", b"SINGULARITY_CONTAINER")
_SYSTEM = ("/usr/bin/", "/usr/local/bin/", "/bin/")
_PATH = pattern(r"^PATH=[\"']?([^\"'\n]+)", re.MULTILINE)
_LACKING = pattern(r"No module named|^python .* was not found")


def hidden(python: str, taken: str | None, environ: Mapping[bytes, bytes]) -> str | None:
    """The Python that the image's own PATH has for `python`, a bare name that found `taken`; None where it is no other.

    A system's Python in place of one that is none: else somebody has chosen, in startup commands or in a profile file
    of the image.
    """
    chosen = "/" in python or (taken is not None and not taken.startswith(_SYSTEM))
    if chosen or b"SLURM_JOB_ID" not in environ or any(name in environ for name in _OTHER_MAKERS):
        return None
    if not os.path.isdir(_INSIDE):
        return None
    own = shutil.which(python, path=_own_path())
    return None if own is None or own == taken or own.startswith(_SYSTEM) else own


def hint(error: str, own: str | None) -> str:
    """`error`, with the image's own Python where it is for lack of that."""
    if own is None or not _LACKING.search(error):
        return error
    return (
        f'{error}; the image\'s PATH has {own}, and a login shell in the container has set PATH anew: python = "{own}"'
    )


def _own_path() -> str:
    try:
        with open(ENVIRONMENT, encoding="utf-8", errors="surrogateescape") as file:
            found = _PATH.findall(file.read())
    except OSError:
        return ""
    return found[-1].strip() if found else ""
