"""The names of all commands; a command's module is imported only when it is chosen."""

from __future__ import annotations

from typing import NamedTuple

from automodel_launch.commands import console


class Entry(NamedTuple):
    """A command's arguments, and what it is for."""

    takes: str
    about: str


COMMANDS = {
    "recipes": Entry("[RECIPE]", "what can be run; of one recipe, the names that its framework brings along"),
    "configs": Entry("[RECIPE]", "what -c takes, for one recipe or for all"),
    "profiles": Entry("[PROFILE]", "the profiles of env.toml, or one with the source of each value"),
    "check": Entry("RECIPE ...", "a plan's findings only; takes what a launch takes"),
    "pipeline": Entry("FILE", "several launches, one needing what another makes; --run, --batch, --dry-run"),
    "jobs": Entry("", "every job submitted from here, with its state; -w: again and again"),
    "status": Entry("[JOB]", "what a job does, or how it ended; -w: until it ends"),
    "attach": Entry("[JOB]", "follow a job to its end; exits with its result"),
    "logs": Entry("[JOB]", "a job's logs: --rank N|all, --follow, --errors, --grep RE, --since 10m"),
    "metrics": Entry("[RUN]", "every step of a run, all attempts joined: table, --csv, --json"),
    "compare": Entry("SWEEP", "points of a sweep by a metric, best first: --by METRIC, --csv, --json"),
    "report": Entry("[RUN...]", "one HTML page of runs: curves, attempts, cost, plan; -o FILE.html, --open"),
    "diff": Entry(
        "A B", "what differs between two jobs: config, profile, code, data, packages; exit code 1 if anything"
    ),
    "reproduce": Entry("JOB", "run a job's own plan again, as a new run; refused where code, data or packages changed"),
    "stacks": Entry("JOB", "where every rank of a job is now"),
    "exec": Entry("JOB -- CMD", "a command where a job runs, beside its training"),
    "profile": Entry("JOB", "torch's profiler for some steps of some ranks; and which rank the others wait for"),
    "save": Entry("JOB", "a checkpoint now, after which the training goes on"),
    "checkpoints": Entry("[RUN] DO", "what a run has saved: list, verify, prune, export, push"),
    "evaluate": Entry(
        "[RUN[:STEP]]", "a run's checkpoints (last, STEP, all) on held-out data: loss, perplexity; a job each"
    ),
    "cancel": Entry("JOB", "stop a job; it may save a checkpoint first, unless --now"),
    "pause": Entry("JOB", "stop a run, with a save, until `resume`"),
    "resume": Entry("JOB", "a further attempt at a job that is over, from its run's last checkpoint"),
    "doctor": Entry("PROFILE", "is it reachable and usable (exit code 3: no, 4: unreachable); --gpu: its nodes"),
    "prune": Entry("[RUN...]", "what of old jobs and runs can go, with its size; --yes removes it"),
    "nodes": Entry("PROFILE", "nodes that have failed jobs, which further attempts keep away from for a day"),
    "image": Entry("PROFILE DO", "import, list or remove images in files of the cluster (image_cache)"),
}

USAGE = """\
launch.py RECIPE [-c CONFIG] [--run PROFILE | --batch PROFILE]
                        [--dry-run] [OVERRIDE ...]
       launch.py COMMAND ..."""


def about() -> str:
    """The list of commands, as wide as the terminal."""
    rows = [(f"{name} {entry.takes}", entry.about) for name, entry in COMMANDS.items()]
    rows.append(("data-prep inspect PATH", "what is in tokenized data, and every damage"))
    column = 4 + max(len(head) for head, _ in rows)
    lines = [
        line for head, text in rows for line in console.wrapped(text, " " * column, first=f"  {head:<{column - 2}}")
    ]
    return "\n".join(["commands:", *lines])


EPILOG = """\
OVERRIDE is key.sub=value (+key=value for a new key, ~key to remove one), or
--key.sub value; run.env.KEY=value is for a key of the profile.
JOB is a job's id, its unique beginning, a run's name, or `last`.

examples:
  launch.py pretrain -c tiny --dry-run          what would run; what is wrong
  launch.py pretrain -c tiny                    here and now, attached
  launch.py pretrain -c tiny --batch local optimizer.lr=1e-3    detached

exit codes: 0 success, the job's own code if it failed, 2 bad input, 3 refused
            by a check, 4 not submitted, 130 interrupted.
`launch.py COMMAND --help` and `launch.py RECIPE --help` tell more.
"""
