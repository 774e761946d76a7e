"""`${oc.env:NAME}` in a config: a value known here, or one that only the job will know."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from automodel_launch.config.artifacts import Artifacts, Unresolved
from automodel_launch.profile.secret_names import is_secret

# Set inside the job by Slurm, torchrun or the node agent; a value of this shell would be another job's.
_JOB_ONLY = re.compile(
    r"SLURM_\w+|SLURMD_\w+|RANK|LOCAL_RANK|GROUP_RANK|WORLD_SIZE|LOCAL_WORLD_SIZE|MASTER_(ADDR|PORT)"
)
_EXPORT = re.compile(r"(?:^|[;&|{(]|\b(?:then|do|else)\b)\s*export\s+([^;&|#\n]*)", re.M)
_EXPORTED_NAME = re.compile(r"""(\w+)(?:=(?:"[^"]*"|'[^']*'|\$\([^)]*\)|\S)*)?""")
_SOURCES = re.compile(r"(?:^|[;&|]\s*)(?:source|\.)\s+\S", re.MULTILINE)
_MISSING = re.compile(r"\\x00(\w+)\\x00")  # what `lookup` leaves in a config, in Python's notation


@dataclass
class EnvScope:
    """Look-ups of one resolution; `kept` and `missing` collect the names that the job resolves or that nothing sets.

    Attributes:
        environ: the submitter's environment.
        job_env: variables that the profile sets in the job (`env_vars`); they win over the submitter's.
        job_only: names whose value exists in the job alone; a secret's value never enters a config.
    """

    environ: Mapping[str, str]
    job_env: Mapping[str, str] = field(default_factory=dict)
    job_only: frozenset[str] = frozenset()
    kept: set[str] = field(default_factory=set)
    missing: set[str] = field(default_factory=set)
    problem: str | None = None
    hint: str = "give a plain default"
    artifacts: Artifacts | None = None  # behind `${art:data,path}`

    def lookup(self, name: str, *default: object) -> str | None:
        """The resolver behind `oc.env`; a name of the job comes back as the reference itself."""
        if self._is_the_jobs(name):
            self.kept.add(name)
            return self._reference(name, *default)
        known = self.known(name)
        if known is not None:
            return known
        if default:
            return None if default[0] is None else str(default[0])
        self.missing.add(name)
        return f"\0{name}\0"

    def known(self, name: str) -> str | None:
        """A value that is known here; None where the job resolves it, or nothing sets it. Nothing is noted."""
        if self._is_the_jobs(name):
            return None
        return self.job_env.get(name, self.environ.get(name))

    def _is_the_jobs(self, name: str) -> bool:
        return name in self.job_only or _JOB_ONLY.fullmatch(name) is not None or is_secret(name)

    def artifact(self, key: str, field: str, *, _root_: Any) -> Any:
        """The resolver behind `art`: a field of the artifact that `run.KEY` names."""
        try:
            if self.artifacts is None:
                raise Unresolved("artifacts cannot be named here.", "name them outside of run.env")
            return self.artifacts.lookup(key, _root_.get("run", {}).get(key), field)
        except Unresolved as error:
            self.problem, self.hint = str(error), error.hint
            raise ValueError(self.problem) from error

    def settle(self, resolved: object) -> None:
        """Forget the missing names that stood only in a default which nothing needed."""
        self.missing &= set(_MISSING.findall(repr(resolved)))

    def _reference(self, name: str, *default: object) -> str:
        if not default:
            return f"${{oc.env:{name}}}"
        text = "null" if default[0] is None else str(default[0])
        if "}" in text or "$" in text:
            reason = f"AutoModel cannot read the default {text!r} (it has a '}}' or a '$')"
            self.problem = f"${{oc.env:{name},...}}: {reason}."
            raise ValueError(self.problem)
        return f"${{oc.env:{name},{text}}}"


def exported(lines: Iterable[str]) -> set[str]:
    """Names that shell lines of a profile export (`export NAME=...`)."""
    return {name for line in lines for words in _EXPORT.findall(line) for name in _EXPORTED_NAME.findall(words)}


def reads_a_file(lines: Iterable[str]) -> bool:
    """Whether they source one, which may set any variable."""
    return any(_SOURCES.search(line) for line in lines)
