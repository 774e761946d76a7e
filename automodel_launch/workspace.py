"""Where files are: the checkout, or the installed copy, with recipes, configs and env.toml; and the records.

A checkout that this user cannot write (one for many people) keeps the user's records and local runs elsewhere.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from automodel_launch.errors import ProfileError, UsageError

PACKAGE = Path(__file__).resolve().parent
_RECORDS = ".launch/jobs"
BUNDLED = PACKAGE / "bundled"  # recipes/, configs/ and env.toml inside a wheel; a checkout has them beside the package


@dataclass(frozen=True)
class Workspace:
    """Folders of one installation. `root` is the checkout, or the folder a person works in when there is none.

    `elsewhere` takes what would be written there, where that cannot be done.
    """

    root: Path
    recipes: Path
    configs: Path
    env_file: Path
    elsewhere: Path | None = None

    @property
    def runs(self) -> Path:
        """Job root of jobs that run on this machine."""
        return self._home / "runs"

    @property
    def data(self) -> Path:
        """Where prepared data is on this machine."""
        shared = self.root / "data"
        return shared if shared.is_dir() else self._home / "data"

    @property
    def records(self) -> Path:
        """One JSON file for each job that was submitted from here."""
        return self._home / _RECORDS

    @property
    def rehearsals(self) -> Path:
        """What rehearsals have found, a file each."""
        return self._home / ".launch" / "rehearsals"

    @property
    def nemo_run_home(self) -> Path:
        """NeMo-Run's experiments, a folder a profile."""
        return self._home / ".launch" / "nemo_run"

    @property
    def _home(self) -> Path:
        return self.elsewhere or self.root


def leave_removed_directory() -> Path | None:
    """Where the current directory was removed, go to the checkout, so that what is started has one; that folder then.

    Raises:
        UsageError: there is no checkout: the current directory would be the workspace.
    """
    try:
        Path.cwd()
    except FileNotFoundError:
        if not is_checkout():
            raise UsageError("the current directory was removed.", "change to a folder that is there") from None
        os.chdir(PACKAGE.parent)
        return PACKAGE.parent
    return None


def find(env_file: str | None = None, environ: Mapping[str, str] | None = None) -> Workspace:
    """The checkout that holds the package; else the nearest folder upwards with an env.toml; else the current one.

    `env_file` (`--env`) wins over LAUNCH_ENV of `environ` (default: this process's environment), which wins over the
    workspace's own env.toml.

    Raises:
        ProfileError: the file that is named does not exist.
    """
    root = _root()
    environ = os.environ if environ is None else environ
    chosen = env_file or environ.get("LAUNCH_ENV")
    if chosen and not Path(chosen).expanduser().is_file():
        source = "--env" if env_file else "LAUNCH_ENV"
        raise ProfileError(f"{source} {chosen}: there is no such file.", "without it, the checkout's env.toml is read")
    return Workspace(
        root=root,
        recipes=_own_or_bundled(root, "recipes"),
        configs=_own_or_bundled(root, "configs"),
        env_file=Path(chosen).expanduser().absolute() if chosen else _own_or_bundled(root, "env.toml"),
        elsewhere=_elsewhere(root, environ),
    )


def own_records() -> Path:
    """Where this process finds its jobs' records, whatever env.toml it reads: see Workspace.records."""
    root = _root()
    return ((_elsewhere(root, os.environ) or root) / _RECORDS).absolute()


def checkout_of(records: str) -> str:
    """The folder in which a person calls the launcher so that it finds the jobs in `records`."""
    return records.removesuffix(f"/{_RECORDS}")


def _is_writable(root: Path) -> bool:
    """Whether records can be written, by permissions and by the mount; a folder that is not there will be made."""
    return os.access(next((folder for folder in (root / ".launch", root) if folder.is_dir()), root.parent), os.W_OK)


def _elsewhere(root: Path, environ: Mapping[str, str]) -> Path | None:
    """A folder of this user's for one checkout that cannot be written."""
    if _is_writable(root):
        return None
    state = environ.get("XDG_STATE_HOME") or ""
    home = Path(state) if os.path.isabs(state) else Path(os.path.expanduser("~/.local/state"))  # noqa: PTH111, PTH117
    return home / "automodel-launch" / f"{root.name}-{hashlib.sha256(os.fsencode(root)).hexdigest()[:8]}"


def _root() -> Path:
    if is_checkout():
        return PACKAGE.parent
    here = Path.cwd()
    return next((folder for folder in (here, *here.parents) if (folder / "env.toml").is_file()), here)


def is_checkout() -> bool:
    """The package lies in a checkout, beside launch.py; else it was installed, and its command is automodel-launch."""
    return (PACKAGE.parent / "recipes" / "node_agent.py").is_file()


def _own_or_bundled(root: Path, name: str) -> Path:
    own, bundled = root / name, BUNDLED / name
    return own if own.exists() or not bundled.exists() else bundled
