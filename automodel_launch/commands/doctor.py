"""`doctor PROFILE`: is the place of this profile reachable and usable."""

from __future__ import annotations

import argparse
import json
import sys

from automodel_launch import doctor as doctor_
from automodel_launch import workspace
from automodel_launch.doctor.diagnosis import Line
from automodel_launch.errors import PlanRefused
from automodel_launch.profile import profiles
from automodel_launch.profile.schema import Profile
from automodel_launch.profile.validation import validate

_STYLES = {"ok": "\033[32m", "warn": "\033[33m", "FAIL": "\033[1;31m", "not checked": "\033[2m"}
_PLAIN = "\033[0m"


def doctor(args: argparse.Namespace) -> int:
    """A line a matter; exit code 3 when one is a FAIL."""
    here = workspace.find(args.env)
    env_file = profiles.load(here.env_file, args.profile)
    profile = _profile(env_file, args.profile)
    lines = list(doctor_.examine(profile, here))
    if args.json:
        document = {"profile": args.profile, "executor": profile.executor, "lines": [x.document() for x in lines]}
        print(json.dumps(document, indent=1))
    else:
        print(_table(lines, colour=sys.stdout.isatty() and env_file.theme != "plain"))
    return PlanRefused.exit_code if any(line.level == "FAIL" for line in lines) else 0


def _profile(env_file: profiles.EnvFile, name: str) -> Profile:
    values, sources = profiles.merge(env_file.layers(name))
    return validate(values, lambda key: f"{key} ({sources.get(key, name)})")


def _table(lines: list[Line], colour: bool) -> str:
    levels = max((len(line.level) for line in lines), default=0)
    names = max((len(line.what) for line in lines), default=0)
    rows = []
    for line in lines:
        level = f"{line.level:<{levels}}"
        if colour:
            level = f"{_STYLES[line.level]}{level}{_PLAIN}"
        rows.append(f"{level}  {line.what:<{names}}  {line.detail}")
        if line.fix and line.level != "ok":
            rows.append(f"{'':<{levels}}  {'':<{names}}  fix: {line.fix}")
    return "\n".join(rows)
