"""Which files travel with a job: recipes/, and the user's own code, each as it is at this moment.

`packager` says how `code` is read, in NeMo-Run's words. Unset: as on disk, without what .gitignore names. "git": as
committed (GitArchivePackager). "pattern": what globs match on disk (PatternPackager). "none": no code.
"""

from __future__ import annotations

import contextlib
import glob
import hashlib
import io
import os
import subprocess
import tarfile
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from automodel_launch.errors import ConfigError
from automodel_launch.plan import gitstate, ignored

# Of recipes/: what every job is started by.
AGENT = ("node_agent.sh", "node_agent.py", "node_agent_lib", "contract.py", "data_identity.py", "secret_rules.py")
LIMIT_BYTES = 100 * 10**6
_SKIPPED = {"__pycache__", ".git", ".venv", ".mypy_cache", ".ruff_cache", ".pytest_cache", ".ipynb_checkpoints"}


@dataclass(frozen=True)
class Committed:
    """A file as a commit has it."""

    content: bytes = field(repr=False)
    executable: bool = False

    def lies_at(self, path: Path) -> bool:
        """Whether the file on disk is the same: then that one is copied, which is quicker."""
        try:
            same_mode = bool(path.lstat().st_mode & 0o100) == self.executable
            return same_mode and not path.is_symlink() and path.read_bytes() == self.content
        except OSError:
            return False


@dataclass(frozen=True)
class PlannedFile:
    """One file of the job's directory: where it comes from, and what it is there. `path` is relative to that.

    With `committed` that travels, and not what lies at `source` now.
    """

    path: str
    source: Path
    bytes: int
    sha256: str
    committed: Committed | None = None


def collect(
    recipes: Path, script: Path, parts: Iterable[str], code: Iterable[str], base: Path, packager: str | None = None
) -> tuple[PlannedFile, ...]:
    """Everything below `code/` in the job's directory, sorted by path.

    `script` is the recipe to run, `parts` the files and folders beside it that it is made of. The node agent, in
    `recipes`, always travels. `code` are paths relative to `base`, read as `packager` says.

    Raises:
        ConfigError: a path of `code` does not exist or leaves `base`, or more than 100 MB would travel.
    """
    code, base = tuple(code), base.resolve()
    if packager == "none" and code:
        raise ConfigError('code: nothing of it travels with packager = "none".', "take one of the two out")
    found = agent = _beside(recipes, AGENT, "recipes/")
    own = "recipes/" if script.is_relative_to(recipes) else ""
    own_parts = _beside(script.parent, (script.name, *parts), own)
    _refuse_replacing(agent, own_parts, f"{script}: [tool.runspec] code")
    found = {**agent, **own_parts}
    committed: dict[str, tuple[Path, Committed]] = {}
    for written in code:
        if packager == "git":
            at_head = _at_head(written, base)
            committed.update({name: file for name, file in at_head.items() if not file[1].lies_at(file[0])})
            more = {name: source for name, (source, _) in at_head.items()}
        else:
            more = _matching(written, base) if packager == "pattern" else _below(written, base)
        _refuse_replacing(agent, more, f"code: {written!r}")
        found.update(more)
    _refuse_too_much(found, committed)
    files = [planned(f"code/{name}", source) for name, source in found.items() if name not in committed]
    files += [planned(f"code/{name}", source, content) for name, (source, content) in committed.items()]
    return tuple(sorted(files, key=lambda file: file.path))


def _refuse_replacing(agent: dict[str, Path], others: Mapping[str, Path], where: str) -> None:
    """What starts every job lies at code/recipes/, and nothing of a person's may take its place."""
    taken = [name for name, source in others.items() if name in agent and source.resolve() != agent[name].resolve()]
    if taken:
        raise ConfigError(
            f"{where}: {others[taken[0]]} would replace the launcher's own {taken[0]} in the job.",
            "another name for that folder or file",
        )


def agent(recipes: Path) -> tuple[PlannedFile, ...]:
    """The node agent in `recipes`, as it travels with every job."""
    return tuple(planned(f"code/{name}", source) for name, source in _beside(recipes, AGENT, "recipes/").items())


def is_agent(path: str) -> bool:
    """Whether a path of a job's directory is the node agent's."""
    return path.startswith("code/recipes/") and path.split("/")[2] in AGENT


def _beside(folder: Path, names: Iterable[str], prefix: str) -> dict[str, Path]:
    present = (folder / name for name in names)
    files = (file for path in present if path.exists() for file in _files(path, _ignored_by_recipes))
    return {f"{prefix}{file.relative_to(folder).as_posix()}": file for file in files}


def verify(files: Iterable[PlannedFile]) -> None:
    """Refuse files that are no longer what the plan was made of.

    Raises:
        ConfigError: one has changed.
    """
    for file in files:
        if file.committed is None and hashlib.sha256(_read(file.source)).hexdigest() != file.sha256:
            raise ConfigError(f"{file.source} has changed since the plan was made; nothing was submitted.", "try again")


@contextlib.contextmanager
def on_disk(files: Iterable[PlannedFile]) -> Iterator[dict[str, Path]]:
    """Where the content of each file lies meanwhile, by its path in the job's directory."""
    with tempfile.TemporaryDirectory(prefix="launch-code-") as folder:
        yield {file.path: _unpacked(file, Path(folder)) for file in files}


def _unpacked(file: PlannedFile, folder: Path) -> Path:
    if file.committed is None:
        return file.source
    path = folder / file.path
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(file.committed.content)
    path.chmod(0o755 if file.committed.executable else 0o644)
    return path


def planned(name: str, source: Path, committed: Committed | None = None) -> PlannedFile:
    """A file as it is now; `name` is its path in the job's directory."""
    content = _read(source) if committed is None else committed.content
    return PlannedFile(name, source, len(content), hashlib.sha256(content).hexdigest(), committed)


def _read(source: Path) -> bytes:
    try:
        return source.read_bytes()
    except OSError as error:
        raise ConfigError(f"{source} cannot be read: {error.strerror}; it would travel.") from error


def _below(written: str, base: Path) -> dict[str, Path]:
    """As on disk: a file, or all of a folder but what .gitignore names."""
    root = (base / Path(written).expanduser()).resolve()
    if not root.exists():
        raise ConfigError(f"code: {written!r}: no such file or folder below {base}.")
    _refuse_outside(written, root, base)
    found = {_name(file, base): file for file in _files(root)}
    if not found:
        raise _nothing(written, root)
    return found


def _nothing(written: str, root: Path) -> ConfigError:
    if root in ignored.empty_submodules(root):
        reason, hint = "it is a submodule that was never initialised", f"git submodule update --init {root}"
    else:
        reason, hint = "it is empty, or .gitignore names all of it", 'packager = "pattern" takes also what git ignores'
    return ConfigError(f"code: {written!r}: nothing of it would travel: {reason}.", hint)


def _matching(written: str, base: Path) -> dict[str, Path]:
    """What a pattern matches on disk, also what .gitignore names: who writes a pattern means it."""
    _refuse_outside(written, Path(os.path.abspath(base / written)), base)  # noqa: PTH100 (lexically: links stay links)
    names = [written] if (base / written).exists() else glob.glob(written, root_dir=base, recursive=True)  # noqa: PTH207
    found: dict[str, Path] = {}
    for root in (base / name for name in names):
        found.update({_name(file, base): file for file in _files(root, None)})
    wanted = {name: file for name, file in found.items() if _SKIPPED.isdisjoint(name.split("/")[:-1])}
    if not wanted:
        raise ConfigError(f"code: no file matches {written!r} below {base}.", "a glob, such as my_models/**/*.py")
    return wanted


_NOT_CODE = ("recipes", "configs", "runs", "data", "docs", "tests", "build", "dist")


def _refuse_outside(written: str, root: Path, base: Path) -> None:
    if root == base:
        folders = sorted(one.name for one in base.iterdir() if one.is_dir() and one.name.isidentifier())
        named = ", ".join(f'"{name}"' for name in folders if name not in _NOT_CODE) or '"src"'
        message = f"code: {written!r} is the whole of {base}, with its runs and data."
        raise ConfigError(message, f"the folders that the job needs, of {named}; recipes/ travels anyway")
    if not root.is_relative_to(base):
        raise ConfigError(f"code: {written!r} does not lie below {base}.", "give paths relative to the checkout")


def _at_head(written: str, base: Path) -> dict[str, tuple[Path, Committed]]:
    """The files of a path as HEAD has them, whatever lies on disk now."""
    root = Path(os.path.abspath(base / Path(written).expanduser()))  # noqa: PTH100 (lexically: it may be gone on disk)
    _refuse_outside(written, root, base)
    repository = gitstate.top(root)
    if repository is None:
        raise ConfigError(f'code: {written!r} lies in no git repository, and packager = "git".', "leave packager out")
    found = {}
    for member, content in _archived(written, repository, root.relative_to(repository).as_posix()):
        if not member.isfile():
            raise ConfigError(f'code: {member.name} is a link; such ones do not travel with packager = "git".')
        source = repository / member.name
        found[_name(source, base)] = (source, Committed(content, bool(member.mode & 0o100)))
    if not found:
        raise _nothing(written, root)
    return found


def _archived(written: str, repository: Path, path: str) -> list[tuple[tarfile.TarInfo, bytes]]:
    command = [*gitstate.GIT, "archive", "--format=tar", "HEAD", "--", path]
    try:
        done = subprocess.run(command, cwd=repository, capture_output=True, check=False)
    except FileNotFoundError:
        raise ConfigError('packager = "git": git is not installed on this machine.', "leave packager out") from None
    if done.returncode:
        said = " ".join(done.stderr.decode(errors="replace").split())
        raise ConfigError(f"code: {written!r}: HEAD of {repository} has nothing of it: {said}", "commit it first")
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
        members = [member for member in archive if not member.isdir()]
        return [(member, _content(archive, member)) for member in members]


def _content(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = archive.extractfile(member) if member.isfile() else None
    return file.read() if file else b""


def _name(file: Path, base: Path) -> str:
    """As `relative_to`, whose parsing is a tenth of the time that 5,000 files take."""
    return str(file)[len(str(base)) + 1 :]


_Ignored = Callable[[Path], set[Path]]


def _files(root: Path, ask: _Ignored | None = ignored.below) -> Iterator[Path]:
    """The files of a folder without those that `ask` names, which is asked for each repository in it, too."""
    if root.is_file():
        yield root
        return
    left_out = ask(root) if ask else set()
    for folder, folders, names in os.walk(root):
        if ask and folder != str(root) and ".git" in (*folders, *names):
            left_out |= ask(Path(folder))
        wanted = [name for name in sorted(folders) if name not in _SKIPPED and Path(folder, name) not in left_out]
        links = [path for path in (Path(folder, name) for name in wanted) if path.is_symlink()]
        if links:
            raise ConfigError(
                f"code: {links[0]} is a link to a folder; such ones do not travel.",
                "copy the folder, or name the link in .gitignore",
            )
        folders[:] = wanted
        for name in sorted(names):
            path = Path(folder, name)
            if path.suffix != ".pyc" and name != ".git" and path not in left_out and path.is_file():
                yield path


def _ignored_by_recipes(folder: Path) -> set[Path]:
    """Where git refuses the checkout (it is somebody else's, shared by many), what a recipe lists travels all the same,
    without files of credentials."""
    try:
        return ignored.below(folder)
    except ConfigError:
        return {path for path in folder.rglob("*") if ignored.holds_credentials(path.name)}


def _refuse_too_much(found: dict[str, Path], committed: dict[str, tuple[Path, Committed]]) -> None:
    sizes = {name: path.stat().st_size for name, path in found.items() if name not in committed}
    sizes.update({name: len(file.content) for name, (_, file) in committed.items()})
    total = sum(sizes.values())
    if total <= LIMIT_BYTES:
        return
    largest = [item for item in sorted(sizes.items(), key=lambda item: -item[1])[:5] if item[1] >= total / 100]
    listed = ", ".join(f"{name} ({size / 1e6:.1f} MB)" for name, size in largest)
    raise ConfigError(
        f"code: {total / 1e6:.1f} MB would travel; the limit is {LIMIT_BYTES // 10**6} MB. The largest: {listed}.",
        "put data on the shared file system, or name the large files in .gitignore",
    )
