"""Everything that a person can cause, as one small tree; only `cli.main` prints and exits.

LaunchError                exit code 2
├── UsageError             2   the command line
├── ProfileError           2   env.toml
├── RecipeError            2   a recipe or its metadata block
├── ConfigError            2   a config or an override
├── JobError               2   a job that is not known, or not in the needed state
├── PlanRefused            3   a check found an error
├── RecordError            4   the launcher's own record of a job cannot be written
├── OutputError            4   standard output takes nothing more (a full disk)
└── ClusterError           4   the place of execution could not be reached or refused the submission
        ├── SubmissionUnknown  4   it may have taken the job
        └── StillSubmitting    4   a command that somebody's launcher has started is at it
"""

from __future__ import annotations


class LaunchError(Exception):
    """What was wrong (`message`: what, where, what is valid) and what fixes it (`hint`)."""

    exit_code = 2

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(LaunchError):
    """The command line is not understood."""


class ProfileError(LaunchError):
    """env.toml cannot be read, or a profile in it is wrong."""


class RecipeError(LaunchError):
    """No such recipe, or its metadata block is wrong."""


class ConfigError(LaunchError):
    """A config cannot be read or resolved, or an override does not fit it."""


class JobError(LaunchError):
    """No such job, or it is not in a state that allows what was asked."""


class PlanRefused(LaunchError):
    """A check found an error; nothing was submitted."""

    exit_code = 3


class RecordError(LaunchError):
    """The launcher's own record of a job cannot be written."""

    exit_code = 4


class OutputError(LaunchError):
    """Standard output takes nothing more."""

    exit_code = 4


class ClusterError(LaunchError):
    """The place of execution could not be reached, or refused the submission."""

    exit_code = 4


class SubmissionUnknown(ClusterError):
    """The answer to a submission was lost; the job may be queued, so its directory stays."""


class StillSubmitting(ClusterError):
    """The command that submits the job still works, though its launcher may have ended."""
