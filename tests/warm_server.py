"""A Python that has imported the launcher and what it needs of others, and forks a `launch.py` for each request.

A fork server (fork_server.py). Where the launcher beside that launch.py is not a copy of CHECKOUT's as it was when it
was imported, it is forgotten, and imported from there.
"""

from __future__ import annotations

import atexit
import importlib
import logging
import os
import shutil
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import fork_server  # type: ignore[import-not-found]  # beside this script

# Every module that a plan needs and that is not ours; what is missing here is imported later, in each launch.
OTHERS = (
    "ctypes",
    "fsspec.core",
    "omegaconf",
    "pydantic",
    "rich.console",
    "rich.table",
    "statistics",
    "tarfile",
    "tomli",
    "torchx.schedulers.local_scheduler",
)
OURS = "automodel_launch"


def warm_up(checkout: str) -> dict[str, tuple[int, int]]:
    """Import NeMo-Run through the launcher's own door, have it do what it does once, and import all of the launcher.

    Returns the launcher's files, as they were before.
    """
    files = contents(Path(checkout, OURS))
    former, sys.path[0] = sys.path[0], checkout
    log = logging.root.handlers[:], logging.root.level
    importlib.import_module(f"{OURS}.executors.nemo")._import()
    for name in (*OTHERS, *modules(files)):
        importlib.import_module(name)
    schema: Any = importlib.import_module(f"{OURS}.profile.schema")
    for table in (schema.Profile, *schema.SECTIONS.values()):
        schema.built(table)
    from nemo_run.core.execution import utils
    from nemo_run.run.torchx_backend import runner

    runner.get_scheduler_factories()
    templates = Path(utils.__file__).with_name("templates")
    environment = utils.jinja2.Environment(loader=utils.jinja2.FileSystemLoader(templates))
    for path in templates.glob("*.j2"):
        environment.get_template(path.name)
        environment.from_string(path.read_text(encoding="utf-8"))
    logging.root.handlers[:], logging.root.level = log
    sys.path[0] = former
    return files


def contents(package: Path) -> dict[str, tuple[int, int]]:
    """Size in bytes and time of change of each file of a package: a copy that nobody has changed has the same."""
    found = {}
    for folder, folders, names in os.walk(package):
        folders[:] = [name for name in folders if name != "__pycache__"]
        for name in names:
            path = Path(folder, name)
            status = path.stat()
            found[str(path.relative_to(package))] = (status.st_size, status.st_mtime_ns)
    return found


def modules(files: Iterable[str]) -> list[str]:
    """Their names, without that which runs when it is imported."""
    paths = [Path(OURS, name) for name in files if name.endswith(".py") and name != "__main__.py"]
    return [".".join(path.with_suffix("").parts).removesuffix(".__init__") for path in sorted(paths)]


def settle(package: Path, files: dict[str, tuple[int, int]]) -> None:
    """Have the launcher that was imported be the one of this folder; forget it where that is another one."""
    workspace: Any = importlib.import_module(f"{OURS}.workspace")
    if contents(package) == files:
        workspace.PACKAGE, workspace.BUNDLED = package, package / workspace.BUNDLED.name
        return
    for name in [name for name in sys.modules if name.partition(".")[0] == OURS]:
        del sys.modules[name]


def main() -> str | None:
    """The script of a process that was forked; None in the server, at its end."""
    files: dict[str, tuple[int, int]] = {}
    script: str | None = fork_server.forked(sys.argv[2], lambda checkout=sys.argv[1]: files.update(warm_up(checkout)))
    if script is not None:
        atexit.unregister(shutil.rmtree)  # of NeMo-Run's folder, which is the server's
        settle(Path(script).resolve().with_name(OURS), files)
    return script


if __name__ == "__main__" and (SCRIPT := main()) is not None:
    fork_server.run(SCRIPT)
