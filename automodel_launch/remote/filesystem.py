"""File systems that hold jobs' directories: this machine's own, or one behind a shell. Readers and one writer."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import shlex
import socket
import stat
import tarfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from automodel_launch.errors import ClusterError
from automodel_launch.remote import reader
from automodel_launch.remote.read_files import read_files
from automodel_launch.remote.shell import LocalShell, Shell

CHUNK = 8 * 2**20  # bytes of a log that one read fetches; the next read fetches the next ones


FileRead = tuple[bytes, int] | None  # bytes of a file and its size


class FileSystem(Protocol):
    """A file system. Paths are absolute; what is not there reads as None.

    Raises:
        ClusterError: it cannot be reached (any call), or written to.
    """

    def read(self, path: str, offset: int = 0) -> FileRead:
        """Bytes from `offset` on, at most CHUNK of them, and the file's size; a negative offset counts from the end."""

    def read_many(self, wanted: Sequence[tuple[str, int]]) -> list[FileRead]:
        """The same for several files at once, of all of them CHUNK bytes (remote/read_files.py shares them out)."""

    def names(self, folder: str) -> list[str]:
        """Names in a folder; none where there is no such folder."""

    def make(self, folder: str, new: bool = False) -> bool:
        """Make a folder and those above it; with `new`, False where it is there already (the making is atomic)."""

    def make_shared(self, folder: str, top: str) -> None:
        """Make a folder and those above it, below `top`: the group's where it can write `top`, and `top` is its own."""

    def create(self, path: str, text: str) -> bool:
        """Make a file with that text, and the folders above; False where it is there already (the making is atomic)."""

    def put(self, folder: str, sources: Mapping[str, Path], texts: Mapping[str, str]) -> None:
        """Copy files and write texts into a folder, by their paths relative to it.

        A file that is there is replaced in one step, and keeps its mode where it is this user's to write. Behind a
        shell not beside `sources`, which are of a new folder that nobody reads yet.
        """

    def remove(self, folder: str) -> None:
        """Remove a job's folder with all that is in it, or one file."""


@dataclass(frozen=True)
class LocalFileSystem:
    """The file systems that this machine sees."""

    def read(self, path: str, offset: int = 0) -> FileRead:
        """See FileSystem."""
        return self.read_many([(path, offset)])[0]

    def read_many(self, wanted: Sequence[tuple[str, int]]) -> list[FileRead]:
        """See FileSystem."""
        return read_files(wanted, CHUNK)

    def names(self, folder: str) -> list[str]:
        """See FileSystem."""
        try:
            return sorted(os.listdir(folder))  # noqa: PTH208 (names, no paths)
        except (OSError, ValueError):  # ValueError: of a name with a NUL in it
            return []

    def make(self, folder: str, new: bool = False) -> bool:
        """See FileSystem."""
        path = Path(folder)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.mkdir(exist_ok=not new)
        except FileExistsError:
            if new and path.parent.is_dir():
                return False
            raise ClusterError(f"{folder} exists and is not a folder.") from None
        except OSError as error:
            raise _unwritable(folder, error) from error
        return True

    def make_shared(self, folder: str, top: str) -> None:
        """See FileSystem."""
        path = Path(folder)
        made = [one for one in (path, *path.parents) if one.is_relative_to(top) and not one.exists()]
        try:
            for one in reversed(made):
                one.mkdir(parents=True, exist_ok=True)
                _give_to_group(one)
        except OSError as error:
            raise _unwritable(folder, error) from error

    def create(self, path: str, text: str) -> bool:
        """See FileSystem."""
        target = Path(path)
        partial = _partial(target)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with partial.open("w", encoding="utf-8", errors="surrogateescape") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            return _linked(partial, target)
        except OSError as error:
            raise _unwritable(path, error) from error
        finally:
            with contextlib.suppress(OSError):
                partial.unlink(missing_ok=True)

    def put(self, folder: str, sources: Mapping[str, Path], texts: Mapping[str, str]) -> None:
        """See FileSystem."""
        import shutil

        try:
            for name, source in sources.items():
                with _beside(Path(folder, name)) as partial:
                    shutil.copy(source, partial)  # with its mode, and as a new file
            for name, text in texts.items():
                target = Path(folder, name)
                with _beside(target) as partial:
                    partial.write_bytes(text.encode("utf-8", "surrogateescape"))
                    if target.exists() and os.access(target, os.W_OK):  # not another member's of the group
                        shutil.copymode(target, partial)
        except OSError as error:
            raise _unwritable(folder, error) from error

    def remove(self, folder: str) -> None:
        """See FileSystem."""
        import shutil

        Path(folder).unlink(missing_ok=True) if Path(folder).is_file() else shutil.rmtree(folder, ignore_errors=True)


LOCAL = LocalFileSystem()


@dataclass(frozen=True)
class RemoteFileSystem:
    """A file system behind a shell, over SSH say; each call is one round trip."""

    shell: Shell

    def read(self, path: str, offset: int = 0) -> FileRead:
        """See FileSystem."""
        return self.read_many([(path, offset)])[0]

    def read_many(self, wanted: Sequence[tuple[str, int]]) -> list[FileRead]:
        """See FileSystem."""
        if not wanted:
            return []
        patience = 60.0 + len(wanted) * reader.SLOWEST_S
        code, out, err = self.shell.run_bytes(reader.script(len(wanted), CHUNK), reader.listed(wanted), patience)
        try:
            return reader.unpack(out, len(wanted))
        except ValueError:
            reason = " ".join(err.decode(errors="replace").split())[-300:] or f"exit code {code}"
            raise ClusterError(f"{self.shell.place}: files could not be read: {reason}") from None

    def names(self, folder: str) -> list[str]:
        """See FileSystem."""
        return sorted(self.shell.run(f"ls -1A {_q(folder)} 2>/dev/null").out.splitlines())

    def make(self, folder: str, new: bool = False) -> bool:
        """See FileSystem."""
        parents = f"mkdir -p {_q(os.path.dirname(folder))}"  # noqa: PTH120 (a path of another machine)
        script = f"{parents} && {{ [ -e {_q(folder)} ] && exit 45; mkdir {_q(folder)} 2>/dev/null || exit 45; }}"
        done = self.shell.run(script if new else f"mkdir -p {_q(folder)}")
        if done.code == 45:
            return self.shell.run(f"[ -e {_q(folder)} ]").code != 0 and self._refuse(folder, done.err)
        if done.code:
            self._refuse(folder, done.err)
        return True

    def make_shared(self, folder: str, top: str) -> None:
        """See FileSystem."""
        done = self.shell.run(f"{_MAKE_SHARED}\nmake_shared {_q(folder)} {_q(top)}")
        if done.code:
            self._refuse(folder, done.err)

    def create(self, path: str, text: str) -> bool:
        """See FileSystem."""
        folder, name = os.path.split(path)
        content = text.encode("utf-8", "surrogateescape")
        done = self.shell.run(_CREATE.format(folder=_q(folder), name=_q(name), size=len(content)), content)
        if done.code not in (0, _THERE):
            self._refuse(path, done.err)
        return done.code == 0

    def put(self, folder: str, sources: Mapping[str, Path], texts: Mapping[str, str]) -> None:
        """See FileSystem; one stream for all files."""
        # -m: new files, or a purge of scratch space takes the oldest first; -o: they are whose the job is, root's too
        unpack = "tar -x -m -o -f -"
        if sources:
            script = f"cd {_q(folder)} && {unpack}"
        else:  # those of a folder that others may read: beside them, then renamed
            script = _PUT.format(folder=_q(folder), unpack=unpack, names=" ".join(map(_q, texts)))
        done = self.shell.run(script, archive(sources, texts), timeout=600)
        if done.code:
            self._refuse(folder, done.err)

    def remove(self, folder: str) -> None:
        """See FileSystem."""
        self.shell.run(f"rm -rf {_q(folder)}")

    def _refuse(self, folder: str, err: str) -> bool:
        raise ClusterError(f"{self.shell.place}: {folder} cannot be written: {' '.join(err.split())[-300:]}")


def whole(place: FileSystem, path: str, most: int | None = None) -> bytes | None:
    """A file of any length; None where it is not there, holds more than `most` bytes, or was cut off meanwhile."""
    found = place.read(path)
    content = found[0] if found else b""
    while found and len(content) < found[1]:
        if most is not None and found[1] > most:
            return None
        found = place.read(path, len(content))
        if found is None or not found[0]:
            return None
        content += found[0]
    return content if found else None


def wholes(place: FileSystem, paths: Sequence[str]) -> Iterator[bytes | None]:
    """Several files of any length, one after the other; in memory are CHUNK bytes of them, or one that is longer.

    One round trip where all fit into a CHUNK.
    """
    found = place.read_many([(path, 0) for path in paths])
    if all(one is None or len(one[0]) >= one[1] for one in found):
        yield from (one and one[0] for one in found)
        return
    sizes = [one[1] if one else 0 for one in found]
    del found
    for group in packed(sizes):
        names = [paths[index] for index in group]
        for name, one in zip(names, place.read_many([(name, 0) for name in names]), strict=True):
            yield one[0] if one and len(one[0]) >= one[1] else whole(place, name)


def packed(sizes: Sequence[int]) -> Iterator[list[int]]:
    """Indices of files of these sizes, in their order, in groups that one CHUNK holds; a longer file is one alone."""
    group: list[int] = []
    room = CHUNK
    for index, size in enumerate(sizes):
        if group and size > room:
            yield group
            group, room = [], CHUNK
        group.append(index)
        room -= size
    if group:
        yield group


def shell_of(place: FileSystem) -> Shell:
    """Where commands about files of a place run."""
    return place.shell if isinstance(place, RemoteFileSystem) else LocalShell()


def output(place: FileSystem, script: str, timeout: float) -> str:
    """Output of a script for bash there, of any length, whatever its exit code.

    Raises:
        ClusterError: the place cannot be reached.
    """
    return shell_of(place).run("bash -s", script.encode("utf-8", "surrogateescape"), timeout=timeout).out


_MAKE_SHARED = """\
make_shared() {
  local above own
  [ ! -d "$1" ] || return 0
  if [ "$1" = "$2" ]; then mkdir -p "$1"; return; fi
  make_shared "${1%/*}" "$2" || return 1
  mkdir "$1" || { [ -d "$1" ] && return; } || return 1
  above=$(stat -c %g:%A "${1%/*}") own=$(stat -c %g:%A "$1")
  if [ "${above%:*}" = "${own%:*}" ] && [[ ${above#*:} == ?????w* ]]; then chmod g+rwxs "$1"; fi
}"""
# A link is made in one step, with the whole file behind it; where a file system has none, the name comes first.
_THERE = 45
_CREATE = """\
mkdir -p {folder} && cd {folder} || exit 1
name={name} new=".$name.$HOSTNAME.$$"
trap 'rm -f "$new"' EXIT
cat > "$new" || exit 1
[ "$(wc -c < "$new")" -eq {size} ] || {{ echo "the connection broke" >&2; exit 1; }}
! ln "$new" "$name" 2>/dev/null || exit 0
[ ! -e "$name" ] || exit 45
( set -C; cat "$new" > "$name" ) && exit 0
[ ! -e "$name" ] || exit 45
exit 1
"""

_PUT = """\
cd {folder} && new=.put.$HOSTNAME.$$ && mkdir "$new" || exit 1
trap 'rm -rf "$new"' EXIT
( cd "$new" && {unpack} ) || exit 1
for name in {names}; do
  case $name in */*) mkdir -p "${{name%/*}}" || exit 1 ;; esac
  [ ! -w "$name" ] || chmod --reference="$name" "$new/$name" 2>/dev/null
  mv -f "$new/$name" "$name" || exit 1
done
"""


@contextlib.contextmanager
def _beside(target: Path) -> Iterator[Path]:
    """Where to write a file that then takes its place; the folders above are made."""
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = _partial(target)
    try:
        yield partial
        partial.replace(target)
    finally:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)


def _partial(target: Path) -> Path:
    """A name beside it that no other writer takes; not longer than a name may be, where the target's is."""
    return target.with_name(f".{target.name[:100]}.{socket.gethostname()}.{os.getpid()}.{threading.get_ident()}")


def _give_to_group(folder: Path) -> None:
    """New folders have the umask's rights, whatever those above have."""
    above, own = folder.parent.stat(), folder.stat()
    if above.st_mode & stat.S_IWGRP and above.st_gid == own.st_gid and own.st_uid == os.getuid():
        folder.chmod(stat.S_IMODE(own.st_mode) | stat.S_IRWXG | stat.S_ISGID)


def archive(sources: Mapping[str, Path], texts: Mapping[str, str]) -> bytes:
    """A tar of files and of texts, by their names in it."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, source in sources.items():
            archive.add(source, arcname=name, recursive=False)
        for name, text in texts.items():
            content = text.encode("utf-8", "surrogateescape")
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(content), 0o644
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def _linked(partial: Path, target: Path) -> bool:
    """See `_CREATE`."""
    try:
        os.link(partial, target)
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK):
            raise
        try:
            with target.open("x", encoding="utf-8", errors="surrogateescape") as file:
                file.write(partial.read_text(encoding="utf-8", errors="surrogateescape"))
        except FileExistsError:
            return False
    return True


def _unwritable(folder: str, error: OSError) -> ClusterError:
    return ClusterError(f"{folder}: cannot be written: {error.strerror}.", f"see `df -h` and `ls -ld` of {folder}")


def _q(text: str) -> str:
    return shlex.quote(text)
