"""AutoModel's data helper, C++ that builds the index of Megatron data: compiled once, and never waited for in vain.

AutoModel 0.7.0 compiles it on every node (half a minute, more on a busy one), in a directory whose lock outlives a
process that is killed there (file_locks.py). Here it is looked for, in this order,

    /tmp/nemo_automodel_UID/launch-KEY/     this node's copy
    JOB_ROOT/.cache/data-helper-UID/KEY/    the job root's, from which a new node takes it
    a compiler                              into a directory of its own; the result is moved to both places

KEY is of what the result depends on: the source, Python, torch, the machine. A file is COMPILER-SHA256.so. Ranks of a
node take turns by flock, which the kernel releases whatever happens to its holder. A file that is damaged or not this
user's own is never loaded (own_files.py).
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import hashlib
import importlib.util
import os
import platform
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import contract

from . import file_locks, phase
from .output import say
from .own_files import Refused, digest, private_directory, read_own, write_own

NAME = "nemo_automodel_megatron_helpers"  # of the module, as AutoModel's source has it
_PACKAGE = "nemo_automodel.components.datasets.llm"
_IMPORTERS = (f"{_PACKAGE}.megatron_dataset", f"{_PACKAGE}.megatron.helpers", f"{_PACKAGE}.megatron.megatron_utils")
_LOCK = "launch.lock"
_BUILDING = "building-"

Build = Callable[[Path], ModuleType]


@dataclass(frozen=True)
class HelperCache:
    """The places of one version. `build` compiles into an empty directory and leaves NAME.so there."""

    node: Path
    shared: Path | None
    compiler: str | None  # None: there is none, and a helper of any compiler is taken that can be loaded
    build: Build

    def load(self) -> ModuleType:
        """The helper, from the nearest place that has it; compiled where none has."""
        try:
            directory = private_directory(self.node)
        except (Refused, OSError) as error:
            say(f"the data helper is not kept on this node: {error}")
            directory = Path(tempfile.mkdtemp(prefix="data-helper-"))
            atexit.register(shutil.rmtree, directory, ignore_errors=True)
        with file_locks.held(directory / _LOCK, "it compiles the data helper"):
            module = self._first(directory) or self._fetched(directory) or self._compiled(directory)
            self._share(directory)
            return module

    def _first(self, directory: Path) -> ModuleType | None:
        return next(filter(None, map(_imported, self._whole(directory))), None)

    def _fetched(self, directory: Path) -> ModuleType | None:
        """A copy of what the job root has."""
        if self.shared is None or not self.shared.is_dir():
            return None
        try:
            found = list(self._whole(private_directory(self.shared)))
            for path in found:
                write_own(directory / path.name, read_own(path))
        except (Refused, OSError) as error:
            say(f"the job root's data helper is not used: {error}")
            return None
        return self._first(directory) if found else None

    def _whole(self, directory: Path) -> Iterator[Path]:
        """The files of this compiler that are what their names say; others are told and left out."""
        for path in sorted(directory.glob(f"{self.compiler or '*'}-*.so")):
            try:
                content = read_own(path)
            except (Refused, OSError) as error:
                say(f"a data helper is not used: {error}")
                continue
            if path.stem.rpartition("-")[2] == digest(content):
                yield path
            else:
                say(f"a data helper is removed: {path} is damaged")
                path.unlink(missing_ok=True)

    def _compiled(self, directory: Path) -> ModuleType:
        for rest in directory.glob(f"{_BUILDING}*"):  # of processes that were killed: the lock is ours
            shutil.rmtree(rest, ignore_errors=True)
        place = Path(tempfile.mkdtemp(prefix=_BUILDING, dir=directory))
        say("compiling AutoModel's data helper (half a minute or more); kept for later starts")
        with phase.during("compiling the data helper"):
            module = self.build(place)
        with contextlib.suppress(OSError):
            self._keep(place / f"{NAME}.so", directory)
        shutil.rmtree(place, ignore_errors=True)
        return module

    def _keep(self, built: Path, directory: Path) -> None:
        content = built.read_bytes()
        write_own(directory / f"{self.compiler or 'unknown'}-{digest(content)}.so", content)

    def _share(self, directory: Path) -> None:
        """Leave a copy in the job root, where it has none of this name: a job root may be new, or somebody's too."""
        if self.shared is None:
            return
        try:
            for path in directory.glob(f"{self.compiler or '*'}-*.so"):
                copy = private_directory(self.shared) / path.name
                if not copy.exists():
                    write_own(copy, read_own(path))
        except (Refused, OSError) as error:
            say(f"the data helper is not kept in the job root: {error}")


def install() -> None:
    """Have AutoModel take its data helper from here, where the config has Megatron data; see to torch's lock anyway.

    Contract: the configuration was loaded, and with it the classes that it names.
    """
    file_locks.replace_torchs()
    users = [sys.modules[name] for name in _IMPORTERS if name in sys.modules]
    if f"{_PACKAGE}.megatron_dataset" not in sys.modules:
        return
    from nemo_automodel.components.datasets.llm.megatron import megatron_utils

    root = megatron_utils._HELPER_CACHE_ROOT
    file_locks.clear_left_behind(root)

    @functools.lru_cache(maxsize=1)
    def compile_helper() -> ModuleType:
        """In place of AutoModel's function of this name."""
        with phase.during("loading the data helper"):
            return _cache(root).load()

    for user in users:
        user.compile_helper = compile_helper  # type: ignore[attr-defined]


def _cache(root: Path) -> HelperCache:
    from nemo_automodel.components.datasets.llm.megatron._helpers_source import CPP_SOURCE

    key = _key(CPP_SOURCE)
    job_dir = os.environ.get(contract.JOB_DIR_VAR)
    shared = Path(job_dir).parent / contract.HELPER_CACHE.format(uid=os.geteuid()) / key if job_dir else None
    return HelperCache(root / f"launch-{key}", shared, compiler(), functools.partial(_load_inline, CPP_SOURCE))


def _key(source: str) -> str:
    import torch

    facts = (source, sys.version, sysconfig.get_config_var("EXT_SUFFIX"), platform.machine(), platform.libc_ver())
    built = (torch.__version__, torch.version.git_version, torch.compiled_with_cxx11_abi())
    return hashlib.sha256(repr((*facts, *built)).encode()).hexdigest()[:32]


def compiler() -> str | None:
    """A short name of what compiles here, another one for another version; None where there is nothing."""
    command = [*shlex.split(os.environ.get("CXX", "c++")), "--version"]
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True, timeout=60)
    except (OSError, ValueError, subprocess.SubprocessError):
        return None
    return hashlib.sha256(done.stdout).hexdigest()[:12]


def _load_inline(source: str, directory: Path) -> ModuleType:
    """As AutoModel 0.7.0 does, in another directory."""
    from torch.utils.cpp_extension import load_inline

    module: ModuleType = load_inline(
        name=NAME, cpp_sources=source, extra_cflags=["-O3"], with_cuda=False, build_directory=str(directory)
    )
    return module


def _imported(path: Path) -> ModuleType | None:
    spec = importlib.util.spec_from_file_location(NAME, path)
    if spec is None or spec.loader is None:
        return None
    try:
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    except (ImportError, OSError) as error:
        say(f"a data helper is not used: {path}: {error}")
        return None
    return module
