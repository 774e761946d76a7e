"""Container images for tests: directories and links only, with this machine's programs mounted in."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

NAME = "an image of the tests\n"
# `python3` for the node agent, a compiler, and the tests' own Python with its packages for the training
BORROWED_PATHS = list(dict.fromkeys(("/usr", "/etc/alternatives", sys.prefix, sys.base_prefix)))
BORROWED = [f"{path}:{path}:ro" for path in BORROWED_PATHS]


def skeleton(folder: Path) -> Path:
    """The image's root below `folder`; /etc/image-name tells that one is inside."""
    root = folder / "root"
    for name in ("usr", "etc", "proc", "sys", "dev", "run", "opt", "root", "var/tmp", "tmp"):
        (root / name).mkdir(parents=True)
    (root / "tmp").chmod(0o1777)
    for name in ("bin", "lib", "lib64", "sbin"):
        (root / name).symlink_to(f"usr/{name}")
    (root / "etc" / "image-name").write_text(NAME)
    (root / "etc" / "nsswitch.conf").write_text("hosts: files dns\n")
    return root


def squashfs(folder: Path) -> Path:
    """The same as a file, as enroot makes them."""
    file = folder / "image.sqsh"
    subprocess.run(["mksquashfs", skeleton(folder), file, "-quiet", "-no-progress"], check=True, capture_output=True)
    return file
