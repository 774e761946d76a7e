"""The scripts in recipes/ -> Recipe. Only the metadata block at a script's head is read; a recipe is never imported.

The block has PEP 723's form (`# /// script` ... `# ///`, TOML behind `# `), with the table [tool.runspec] that
Nemotron's recipes use too.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from automodel_launch.errors import RecipeError
from automodel_launch.suggest import did_you_mean
from automodel_launch.workspace import Workspace

# The reference expression of PEP 723 (packaging.python.org, "Inline script metadata"), for the type `script`.
_BLOCK = re.compile(r"(?m)^# /// script$\s(?P<content>(^#(| .*)$\s)+)^# ///$")
_BEGINS = re.compile(r"(?m)^# /// script\s*$")
_TABLES = {
    "": {"schema", "name", "docs", "backend", "image", "commands", "code", "run", "config", "resources"},
    "run": {"launch"},
    "config": {"dir", "default", "optional", "short", "word"},
    "resources": {"nodes", "gpus_per_node", "nproc_per_node"},
}


_EXAMPLE = 'at its head: `# /// script`, `# [tool.runspec]`, `# name = "mine"`, `# ///`; or see recipes/pretrain.py'


@dataclass(frozen=True)
class Recipe:
    """A script that runs in the job, as its metadata block describes it."""

    name: str
    path: Path
    docs: str
    launch: Literal["torchrun", "python"]
    image: str | None
    config_dir: Path
    default_config: str
    resources: dict[str, Any]
    dependencies: tuple[str, ...] = ()
    commands: tuple[str, ...] = ()  # what the script answers here and now, without a job: SCRIPT COMMAND ...
    backend: str | None = None  # what trains, by its name in automodel_launch/backends; None: not named
    code: tuple[str, ...] = ()  # files and folders beside the script that it is made of; they travel with it
    oldest_python: tuple[int, int] | None = None  # that `requires-python` of its block names
    optional: tuple[str, ...] = ()  # top-level keys that a config may leave out; an override sets them all the same
    word: bool = False  # its config may be named by the first word behind the recipe, without -c
    short: tuple[tuple[str, str], ...] = ()  # (key of a mapping, which of its keys a string in its place stands for)

    @property
    def profile_defaults(self) -> dict[str, Any]:
        """The weakest layer of a profile."""
        return {**self.resources, **({"container_image": self.image} if self.image else {})}


def find(workspace: Workspace, wanted: str, also: Iterable[str] = ()) -> Recipe:
    """The recipe of that name in recipes/, or the script at that path; `also` are other names, for suggestions.

    Raises:
        RecipeError: there is none, or its metadata block is missing or wrong.
    """
    if wanted.endswith(".py") or "/" in wanted:
        path = Path(wanted).expanduser().resolve()
        if not path.is_file():
            what = "is a directory" if path.is_dir() else "no such recipe script"
            raise RecipeError(f"{path}: {what}.", "the path of a .py file with a metadata block")
        return _read(path, workspace)
    known = _by_name(_readable(workspace, wanted))
    if wanted not in known:
        raise RecipeError(
            f"no recipe '{wanted}' in {workspace.recipes}.{did_you_mean(wanted, [*known, *also])}",
            f"recipes: {', '.join(known) or 'none'}; or give the path of a script with a metadata block",
        )
    return known[wanted]


def _readable(workspace: Workspace, wanted: str) -> Iterator[Recipe]:
    """Recipes whose block is right; a wrong one is an error where it may be the wanted one."""
    for path in sorted(workspace.recipes.glob("*.py")):
        try:
            if _block(path) is not None:
                yield _read(path, workspace)
        except RecipeError:
            if path.stem.replace("_", "-") == wanted.replace("_", "-"):
                raise


def _by_name(found: Iterable[Recipe]) -> dict[str, Recipe]:
    known: dict[str, Recipe] = {}
    for recipe in found:
        other = known.setdefault(recipe.name, recipe)
        if other is not recipe:
            raise RecipeError(f"{other.path} and {recipe.path} are both named '{recipe.name}'.", "rename one")
    return known


def available(workspace: Workspace) -> list[Recipe]:
    """Every script in recipes/ that has a metadata block."""
    scripts = sorted(workspace.recipes.glob("*.py"))
    return [_read(path, workspace) for path in scripts if _block(path) is not None]


def _block(path: Path) -> str | None:
    try:
        text = path.read_text(encoding="utf-8-sig")  # an editor's mark at the head, which Python passes over
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path}: cannot be read: {error}") from error
    match = _BLOCK.search(text)
    if match is None and _BEGINS.search(text):
        raise RecipeError(
            f"{path}: the metadata block is incomplete.",
            "after `# /// script` each line begins with `#`, also an empty one, up to a line `# ///`",
        )
    if match is None:
        return None
    lines = match.group("content").splitlines()
    return "\n".join(line[2:] if line.startswith("# ") else line[1:] for line in lines)


def _read(path: Path, workspace: Workspace) -> Recipe:
    import tomli

    block = _block(path)
    if block is None:
        raise RecipeError(f"{path}: has no metadata block, so it is not a recipe.", _EXAMPLE)
    try:
        metadata = tomli.loads(block)
    except (ValueError, RecursionError) as error:  # its own error is a ValueError, as a number of too many digits is
        what = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise RecipeError(f"{path}: the metadata block is not TOML: {what}") from error
    tool = metadata.get("tool")
    spec = tool.get("runspec") if isinstance(tool, dict) else None
    if not isinstance(spec, dict):
        raise RecipeError(f"{path}: the metadata block has no table [tool.runspec].", "see recipes/pretrain.py")
    _check(spec, path)
    config = spec.get("config", {})
    return Recipe(
        name=spec.get("name", path.stem),
        path=path,
        docs=spec.get("docs", ""),
        launch=spec.get("run", {}).get("launch", "python"),
        image=spec.get("image"),
        config_dir=_config_dir(path, config.get("dir"), workspace),
        default_config=config.get("default", "default"),
        resources=spec.get("resources", {}),
        dependencies=_strings(metadata, "dependencies", f"{path}: "),
        commands=_commands(spec, path),
        backend=spec.get("backend"),
        code=_code(spec, path),
        oldest_python=_oldest_python(metadata.get("requires-python")),
        optional=_strings(config, "optional", f"{path}: [tool.runspec.config] "),
        word=_word(config, path),
        short=_short(config, path),
    )


def _oldest_python(written: object) -> tuple[int, int] | None:
    match = re.search(r">=\s*(\d+)\.(\d+)", written) if isinstance(written, str) else None
    return (int(match[1]), int(match[2])) if match else None


def _commands(spec: dict[str, Any], path: Path) -> tuple[str, ...]:
    commands = _strings(spec, "commands", f"{path}: [tool.runspec] ")
    if not all(word.replace("-", "_").isidentifier() and word[:1] != "-" for word in commands):
        raise RecipeError(f"{path}: [tool.runspec] commands = {list(commands)!r} is not a list of words.")
    return commands


def _code(spec: dict[str, Any], path: Path) -> tuple[str, ...]:
    names = _strings(spec, "code", f"{path}: [tool.runspec] ")
    for name in names:
        where = f"{path}: [tool.runspec] code: {name!r}"
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise RecipeError(f"{where} does not lie beside the script.", "paths relative to the script's folder")
        if not (path.parent / name).exists():
            raise RecipeError(f"{where}: there is no such file or folder beside the script.")
    return names


def _strings(table: dict[str, Any], key: str, where: str) -> tuple[str, ...]:
    values = table.get(key, [])
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise RecipeError(f"{where}{key} = {values!r} is not a list of strings.")
    return tuple(values)


def _word(config: dict[str, Any], path: Path) -> bool:
    found = config.get("word", False)
    if not isinstance(found, bool):
        raise RecipeError(f"{path}: [tool.runspec.config] word = {found!r}: expected true or false.")
    return found


def _short(config: dict[str, Any], path: Path) -> tuple[tuple[str, str], ...]:
    found = config.get("short", {})
    if not isinstance(found, dict) or not all(isinstance(value, str) for value in found.values()):
        raise RecipeError(f"{path}: [tool.runspec.config] short = {found!r} is not a table of strings.")
    return tuple(found.items())


def _config_dir(path: Path, written: str | None, workspace: Workspace) -> Path:
    """Recipes of the workspace have theirs in configs/; those of others name a folder beside their script."""
    if written is None:
        return path.parent
    if path.parent == workspace.recipes.resolve():
        return workspace.configs / Path(written).name
    return (path.parent / written).absolute()


def _check(spec: dict[str, Any], path: Path) -> None:
    for table, known in _TABLES.items():
        values = spec.get(table, {}) if table else spec
        if not isinstance(values, dict):
            raise RecipeError(f"{path}: [tool.runspec] {table} is not a table.")
        for key in values:
            if key not in known:
                where = f"[tool.runspec{'.' + table if table else ''}]"
                raise RecipeError(f"{path}: {where} unknown key '{key}'.{did_you_mean(key, known)}")
    for table, key in (("", "docs"), ("", "backend"), ("", "image"), ("config", "dir"), ("config", "default")):
        value = (spec.get(table, {}) if table else spec).get(key, "")
        if not isinstance(value, str):
            raise RecipeError(
                f"{path}: [tool.runspec{'.' + table if table else ''}] {key} = {value!r} is not a string."
            )
    launch = spec.get("run", {}).get("launch", "python")
    if launch not in ("torchrun", "python"):
        raise RecipeError(f"{path}: [tool.runspec.run] launch = {launch!r}: expected 'torchrun' or 'python'.")
    name = spec.get("name", path.stem)
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]*", name):
        raise RecipeError(f"{path}: [tool.runspec] name = {name!r}: expected letters, digits, '-' and '_'.")
