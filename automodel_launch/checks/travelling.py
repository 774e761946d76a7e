"""What must not travel, and what does not and should: secrets in files, pointers of Git LFS, empty submodules."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from automodel_launch import contract, secret_rules
from automodel_launch.plan import gitstate, ignored
from automodel_launch.plan.finding import Finding
from automodel_launch.plan.packaging import PlannedFile
from automodel_launch.plan.plan import Plan

_SHORT, _WORD = 8, 16  # a shorter value, or a word of letters alone, stands in files by chance
_POINTER = b"version https://git-lfs.github.com/spec/"
_POINTER_BYTES = 1024
_CHANGED = re.compile(rb"^\+\+\+ (?:b/)?(.*)$", re.MULTILINE)
_MOST = 5  # files named in one finding


def secrets(plan: Plan) -> Iterator[Finding]:
    """The value of a secret of this shell in a file or in the diff; each is read once."""
    values = {
        name: value.strip().encode("utf-8", "surrogateescape")
        for name, value in secret_rules.secret_values(os.environ, plan.profile.secrets).items()
        if len(value.strip()) >= (_WORD if value.strip().isalpha() else _SHORT)
    }
    if not values:
        return
    found: dict[str, list[str]] = {}
    for place, content in _contents(plan):
        for name, value in values.items():
            at = content.find(value)
            if at >= 0:
                where = f"{place} ({_changed_file(content, at)})" if place.endswith(contract.GIT_DIFF) else place
                found.setdefault(name, []).append(where)
    for name, places in found.items():
        message = f"the value of {name} stands in what travels: {_listed(places)}."
        fix = f'take it out; secrets = ["{name}"] in the profile gives it to the job'
        yield Finding("error", "secret-travels", message, fix)


def _contents(plan: Plan) -> Iterator[tuple[str, bytes]]:
    for file in plan.files:
        yield str(file.source), _content(file)
    texts = {contract.SCRIPT: plan.script, **plan.texts}
    if plan.files:
        texts.update(gitstate.record(checkout(plan.files[0]), (file.source for file in plan.files)))
    for name, text in texts.items():
        yield name, text.encode("utf-8", "surrogateescape")


def _content(file: PlannedFile) -> bytes:
    if file.committed is not None:
        return file.committed.content
    try:
        return file.source.read_bytes()
    except OSError:  # submitting it says so
        return b""


def _changed_file(diff: bytes, at: int) -> str:
    names = _CHANGED.findall(diff, 0, at)
    return names[-1].decode(errors="replace") if names else "uncommitted"


def checkout(file: PlannedFile) -> Path:
    """The folder that `code/` in the job's directory is laid out as."""
    return file.source.parents[len(Path(file.path).parts) - 2]


def pointers(plan: Plan) -> Iterator[Finding]:
    """Files that Git LFS has not fetched: a pointer travels in the place of each."""
    small = (file for file in plan.files if file.bytes <= _POINTER_BYTES)
    found = [file.path.removeprefix("code/") for file in small if _content(file).startswith(_POINTER)]
    if found:
        message = f"Git LFS has not fetched {_listed(found)}: what travels is a pointer to it."
        yield Finding("warning", "lfs-pointer", message, "git lfs pull")


def submodules(plan: Plan) -> Iterator[Finding]:
    """Submodules below `code` of which nothing travels."""
    if not plan.profile.code or not plan.files or plan.profile.packager == "pattern":
        return
    by_git = plan.profile.packager == "git"
    roots = [checkout(plan.files[0]) / written for written in plan.profile.code]
    without = ignored.submodules_below if by_git else ignored.empty_submodules
    found = [link for root in roots for link in without(root)]
    if not found:
        return
    names = _listed([str(link.relative_to(checkout(plan.files[0]))) for link in found])
    if by_git:
        message, fix = f'packager = "git" takes nothing of the submodules {names}.', "name them in code, too"
    else:
        message = f"submodules that were never initialised: nothing of {names} travels."
        fix = "git submodule update --init"
    yield Finding("warning", "empty-submodule", message, fix)


def refused(plan: Plan) -> Iterator[Finding]:
    """Repositories that git does not read, so that the job's directory cannot tell the commit."""
    for repository in gitstate.tops(file.source for file in plan.files):
        if gitstate.ask(repository, "rev-parse", "--git-dir") is None:
            message = f"git does not read {repository}: the job's directory will have neither its commit nor a diff."
            fix = f"git -C {repository} status says why; somebody else's: git config --global --add safe.directory"
            yield Finding("note", "git-refuses", message, f"{fix} {repository}")


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _MOST} more" if len(names) > _MOST else ""
    return ", ".join(names[:_MOST]) + more


CHECKS = (secrets, pointers, submodules, refused)
