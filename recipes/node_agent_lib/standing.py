"""Does the agent stand in the directory that its order is about?

All paths of a job are absolute. So a copy of its directory that somebody runs elsewhere would start the original once
more, and overwrite it.
"""

from __future__ import annotations

import os

import contract

from .files import read_json

_OWN = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", "..", ".."))  # this file's, where it travelled


def refusal(job_dir: str | None, *places: str) -> str | None:
    """Why this is not the directory of the job in `job_dir`; None where it is, or where nothing says that it is not.

    `places` are directories from which the agent was started, beside that in which it lies.
    """
    for place in (_OWN, *places):
        if job_dir and os.path.isfile(os.path.join(place, contract.AGENT)) and not _same(place, job_dir):
            there = "" if os.path.isdir(job_dir) else ", which is not there"
            return (
                f"{place} is a copy of a job's directory: its {contract.AGENT} and script are about {job_dir}{there},"
                " which they would run and overwrite. Nothing was started; launch a job of its own instead"
            )
    return None


def of_directory(job_dir: str, *places: str) -> str | None:
    """The same for the order that lies in `job_dir`."""
    spec = read_json(os.path.join(job_dir, contract.AGENT)) or {}
    meant = spec.get("job_dir")
    return refusal(meant if isinstance(meant, str) else None, job_dir, *places)


def _same(one: str, other: str) -> bool:
    """By what they are, not by their names: a directory may be mounted at several places, by several devices."""
    try:
        if os.path.samefile(one, other):
            return True
        files = [(path, os.path.join(path, contract.AGENT)) for path in (one, other)]
        first, second = ([os.stat(path).st_ino for path in paths] for paths in files)
        return os.stat(one).st_dev != os.stat(other).st_dev and first == second
    except OSError:
        return False
