"""The files that travel compared with git, and mounts that nothing would use."""

from __future__ import annotations

import ast
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from automodel_launch.backends import own_steps, user_code
from automodel_launch.checks.travelling import checkout
from automodel_launch.plan import gitstate
from automodel_launch.plan.finding import Finding
from automodel_launch.plan.plan import Plan
from automodel_launch.profile.schema import keys_of


def uncommitted(plan: Plan) -> Iterator[Finding]:
    """Work that is in no commit travels too; the job's directory keeps the diff."""
    sources = [file.source for file in plan.files if file.committed is None]
    changed, untracked = _count(sources, _first_parts(sources))
    if changed or untracked:
        message = f"{changed} changed, {untracked} untracked files travel as they are on disk."
        yield Finding("note", "uncommitted", message, "the job's directory keeps the commit and the diff, in git/")


def left_behind(plan: Plan) -> Iterator[Finding]:
    """With packager = "git" HEAD travels, and what is not in it stays here."""
    names = [f"code/{os.path.normpath(written)}" for written in plan.profile.code]
    files = [file for file in plan.files if any(file.path == n or file.path.startswith(f"{n}/") for n in names)]
    if plan.profile.packager != "git" or not files:
        return
    code = [checkout(files[0]) / written for written in plan.profile.code]
    changed = untracked = 0
    for repository in gitstate.tops(file.source for file in files):
        paths = [path.relative_to(repository).as_posix() for path in code if path.is_relative_to(repository)]
        found = gitstate.changes(repository, paths)
        if found is not None:
            changed, untracked = changed + len(found.changed), untracked + len(found.untracked)
    if changed or untracked:
        message = f'packager = "git": {changed} changed, {untracked} untracked files of code stay behind; HEAD travels.'
        yield Finding("note", "left-behind", message, "commit them, or leave packager out: then they travel")


def idle_mounts(plan: Plan) -> Iterator[Finding]:
    """Without a container there is nothing to mount into."""
    if plan.profile.mounts and "mounts" in keys_of(plan.profile.executor) and plan.image is None:
        source = plan.profile_sources.get("mounts", plan.profile_name)
        yield Finding("note", "no-effect", f"mounts ({source}) has no effect without a container_image.")


def _count(sources: list[Path], paths: dict[Path, set[str]]) -> tuple[int, int]:
    travelling = set(sources)
    changed = untracked = 0
    for repository, names in paths.items():
        found = gitstate.changes(repository, sorted(names))
        if found is not None:
            changed += sum(repository / name in travelling for name in found.changed)
            untracked += sum(repository / name in travelling for name in found.untracked)
    return changed, untracked


def _first_parts(sources: Iterable[Path]) -> dict[Path, set[str]]:
    """For each work tree the names at its top that files travel from, so that git looks at nothing else."""
    tops: dict[Path, Path | None] = {}
    parts: dict[Path, set[str]] = {}
    for source in sources:
        folder = source.parent
        if folder not in tops:
            tops[folder] = gitstate.top(folder)
        repository = tops[folder]
        if repository is not None:
            parts.setdefault(repository, set()).add(source.relative_to(repository).parts[0])
    return parts


def missing_parts(plan: Plan) -> Iterator[Finding]:
    """Modules beside the script that it imports and that its metadata block does not list: they would not travel."""
    names = {file.path for file in plan.files}
    script = next((file for file in plan.files if file.source == plan.recipe.path), None)
    if script is None:
        return
    beside = script.path.rpartition("/")[0]
    for module in sorted(_imported(plan.recipe.path)):
        path = plan.recipe.path.parent / module
        there = f"{module}.py" if path.with_suffix(".py").is_file() else module if path.is_dir() else None
        forms = (f"{beside}/{module}.py", f"{beside}/{module}/", f"code/{module}.py", f"code/{module}/")
        travels = any(name.startswith(forms) for name in names)
        if there and not travels:
            message = f"{plan.recipe.path.name} imports {module}, and {there} beside it does not travel with the job."
            listed = ", ".join(f'"{part}"' for part in (*plan.recipe.code, there))
            yield Finding("error", "part-not-listed", message, f"code = [{listed}] below [tool.runspec] in the script")


def script_is_python(plan: Plan) -> Iterator[Finding]:
    """A recipe of one's own that Python does not read would end as it starts, on every rank."""
    script = plan.recipe.path
    try:
        wrong = user_code.not_python(script.name, script.read_bytes())
    except OSError:
        return
    if wrong:
        level, why = wrong
        version = f"{sys.version_info[0]}.{sys.version_info[1]}"
        fix = f"python -m py_compile {script} tells the same"
        yield Finding(level, "not-python", f"Python {version} does not read {why}.", fix)


def ends_by_itself(plan: Plan) -> Iterator[Finding]:
    """A recipe of one's own that fails whatever it does, or imports a file beside it that ends there."""
    script = plan.recipe.path
    parts = (script.parent / f"{name}.py" for name in sorted(_imported(script)))
    for path in (script, *(part for part in parts if part.is_file())):
        try:
            ending = own_steps.ending(path.read_bytes(), is_script=path == script)
        except OSError:
            continue
        if ending:
            what = "fails whatever it has done" if path == script else "ends as it is imported, and the job with it"
            fix = 'put it into a function, or below `if __name__ == "__main__":` where only a call of the file needs it'
            yield Finding("error", "ends-the-job", f"{path.name} {what}: {ending}.", fix)


def _imported(script: Path) -> set[str]:
    """The first part of each name that a script imports, wherever in it."""
    try:
        tree = ast.parse(script.read_bytes())
    except (OSError, SyntaxError, ValueError):
        return set()
    nodes = list(ast.walk(tree))
    names = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    names += [node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module and not node.level]
    return {name.partition(".")[0] for name in names}


CHECKS = (uncommitted, left_behind, idle_mounts, missing_parts, script_is_python, ends_by_itself)
