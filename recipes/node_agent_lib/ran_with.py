"""What this Python, and the machine below it, is: versions only, and nothing heavy is imported to find them.

A program of its own, too: it prints what it has found as JSON, and what the packages that it is given depend on. So
the launcher asks the job's Python before there is a job. No value of a variable is looked at, but for NCCL's version,
which NVIDIA's images tell in one.
"""

from __future__ import annotations

import glob
import hashlib
import json
import os
import platform
import re
import socket
import sys
from typing import Any, Dict

Json = Dict[str, Any]

_VERSION = re.compile(r"[\w.+!-]{1,64}")
_DRIVER = "/proc/driver/nvidia/version"
_MODELS = "/proc/driver/nvidia/gpus/*/information"
_NCCL_FILES = ("/usr/lib/*/libnccl.so.*.*.*", "/usr/lib64/libnccl.so.*.*.*", "/usr/local/*/lib/libnccl.so.*.*.*")
_INSTALLED = (".dist-info", ".egg-info", ".egg-link")
_METADATA = ("METADATA", "PKG-INFO", "")
"""Where a wheel, an egg and a distutils' .egg-info, which is a file, have theirs, as importlib.metadata reads them."""
_TOLD = re.compile(r"^(Name|Version):[ \t]*(\S+)", re.MULTILINE)


def look() -> Json:
    """All of it; what cannot be had here is None."""
    found = packages()
    return {**machine(), "listing": listing(), "packages": found, "nccl": nccl(found)}


def machine() -> Json:
    """All but the packages."""
    return {
        "python": platform.python_version(),
        "executable": sys.executable,
        "host": socket.gethostname(),
        "system": platform.system(),
        "kernel": platform.release(),
        "machine": platform.machine(),
        "driver": driver(_read(_DRIVER)),
        "gpus": sorted(model for path in glob.glob(_MODELS) for model in re.findall(r"Model:\s*(.+)", _read(path))),
    }


def listing() -> str:
    """A digest of the names under which packages are installed, which hold their versions; no file is opened."""
    names = [name for folder in sys.path for name in _names(folder or ".") if name.endswith(_INSTALLED)]
    return hashlib.sha256("\n".join(sorted(names)).encode("utf-8", "surrogateescape")).hexdigest()[:16]


def packages() -> dict[str, str]:
    """Version by name, as imports find them; of one that was installed from a repository with the commit."""
    from importlib import metadata

    found: dict[str, str] = {}
    for distribution in metadata.distributions():
        try:
            told = dict(_TOLD.findall(_head(distribution)))
            name, version = told.get("Name"), told.get("Version")
            if name and version:
                found.setdefault(_plain(name), version + _commit(distribution))
        except Exception:  # one that is half removed is none
            continue
    return dict(sorted(found.items()))


def _head(distribution: Any) -> str:
    """Of a package's metadata, without its description; `metadata` would parse all of it, ten times as long."""
    texts = (distribution.read_text(name) for name in _METADATA)
    return next((text for text in texts if text), "").partition("\n\n")[0]


def _commit(distribution: Any) -> str:
    text = distribution.read_text("direct_url.json")
    told = json.loads(text) if text else {}
    commit = (told.get("vcs_info") or {}).get("commit_id")
    editable = (told.get("dir_info") or {}).get("editable")
    return f" ({commit[:12]})" if commit else " (editable)" if editable else ""


def depends(roots: list[str]) -> list[str]:
    """Those of the installed packages that `roots` are or need, one behind the other; extras are nobody's need."""
    from importlib import metadata

    found: list[str] = []
    waiting = [_plain(root) for root in roots]
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        try:
            needed = metadata.distribution(name).requires or []
        except metadata.PackageNotFoundError:
            continue
        found.append(name)
        for text in needed:
            match = re.match(r"\s*([\w.-]+)", text)
            if match and "extra ==" not in text:
                waiting.append(_plain(match.group(1)))
    return sorted(found)


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def driver(text: str) -> str | None:
    """NVIDIA's version out of /proc/driver/nvidia/version."""
    match = re.search(r"Kernel Module(?: for \S+)?\s+(\d+[\d.]+)", text)
    return match.group(1) if match else None


def nccl(found: dict[str, str]) -> str | None:
    """NCCL's version: of the wheel that torch brings, else what the image says, else the library's name."""
    for name, version in found.items():
        if name.startswith("nvidia-nccl-"):
            return version
    told = os.environ.get("NCCL_VERSION", "")
    if _VERSION.fullmatch(told) and told[0].isdigit():
        return told
    files = [name for pattern in _NCCL_FILES for name in sorted(glob.glob(pattern))]
    return files[-1].rpartition(".so.")[2] if files else None


def _names(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read(1 << 16)
    except OSError:
        return ""


if __name__ == "__main__":
    sys.path[:] = [folder for folder in sys.path if folder]  # `-c` puts the current directory before all others
    print(json.dumps({**look(), "depends": depends(sys.argv[1:])}))
