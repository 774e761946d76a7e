"""`checkpoints RUN [DO ...]`: what a run has saved: list, verify, prune, export, push."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING

from automodel_launch import workspace
from automodel_launch.commands import console
from automodel_launch.commands.command import Option, Parser
from automodel_launch.commands.one_job import JobCommand
from automodel_launch.errors import UsageError
from automodel_launch.jobs import records
from automodel_launch.suggest import did_you_mean

if TYPE_CHECKING:
    from automodel_launch.launch.checkpoints.listing import Kept, Row

_DO = {
    "list": "list",
    "verify": "verify [STEP|all]",
    "prune": "prune [--keep N] [--yes]",
    "export": "export STEP [DIR]",
    "push": "push [STEP] ORG/NAME [--public]",
}
_MOST = {"list": 0, "verify": 1, "prune": 0, "export": 2, "push": 2}


class Checkpoints(JobCommand):
    """The checkpoints of one run, wherever they lie."""

    name = "checkpoints"
    bare = True
    options = (
        Option(("--yes",), "prune: remove them; without it only what would go is shown"),
        Option(("--keep",), "prune: keep so many of the newest (default: 1), and the best", "N"),
        Option(("--public",), "push: a new repository is public, not private"),
    )

    def register(self, parser: Parser) -> None:
        """RUN, what to do, and its words."""
        super().register(parser)
        parser.add_argument("action", metavar="DO", nargs="?", default="list", help=" | ".join(_DO.values()))
        text = "STEP is a number as in the checkpoint's name, `last` or `best`; DIR is one where the checkpoints are"
        parser.add_argument("words", metavar="WORD", nargs="*", help=text)

    def parse(self, argv: list[str]) -> argparse.Namespace:
        """Options stand anywhere among the words."""
        return self.parser().parse_intermixed_args(argv)

    def run(self, args: argparse.Namespace) -> int:
        """Do it."""
        _refuse(args)
        record = self.find(args)
        from automodel_launch.launch import evaluation_jobs
        from automodel_launch.launch.checkpoints import listing

        here = workspace.find(args.env)
        of_run = [one for one in records.all_records(here.records) if one.run_dir == record.run_dir]
        evaluation_jobs.adopt(here.records, of_run)  # what is told of has a name here, and keeps what it needs
        kept = listing.look(record, here.recipes)
        if args.action in ("list", "verify"):
            return _list(args, kept) if args.action == "list" else _verify(args, kept)
        if args.action == "prune":
            return _prune(args, kept)
        from automodel_launch.commands import checkpoints_out

        return checkpoints_out.export(args, kept) if args.action == "export" else checkpoints_out.push(args, kept)


def _refuse(args: argparse.Namespace) -> None:
    """What is wrong with the words, before anything is asked."""
    action, words = args.action, args.words
    if action not in _DO:
        raise UsageError(
            f"checkpoints: {action!r} is none of {', '.join(_DO)}.{did_you_mean(action, _DO)}",
            f"python launch.py checkpoints {args.job} list",
        )
    usage = f"python launch.py checkpoints RUN {_DO[action]}"
    if len(words) > _MOST[action]:
        raise UsageError(f"checkpoints {action}: '{words[_MOST[action]]}' is one word too many.", usage)
    if not words and action in ("export", "push"):
        raise UsageError(f"checkpoints {action}: {'which STEP' if action == 'export' else 'to which ORG/NAME'}?", usage)
    for option, own in (("yes", "prune"), ("keep", "prune"), ("public", "push")):
        if getattr(args, option) and action != own:
            raise UsageError(f"--{option} belongs to {own}.", f"python launch.py checkpoints RUN {_DO[own]}")
    if args.keep is not None and not (args.keep.isascii() and args.keep.isdigit() and int(args.keep) > 0):
        raise UsageError(f"--keep {args.keep}: a number from 1.", "--keep 3")


def _list(args: argparse.Namespace, kept: Kept) -> int:
    last, best = kept.last, kept.best
    if args.json:
        names = {"last": last.name if last else None, "best": best.name if best else None}
        run = {"run": kept.record.run_name, "folder": kept.folder, **names}
        console.document({**run, "free": kept.free, "checkpoints": [asdict(row) for row in kept.rows]})
    elif not kept.rows:
        console.say(f"{kept.record.run_name} has saved no checkpoint yet ({kept.folder})")
    else:
        held_out = _held_out(kept)
        columns = list(held_out.values())
        head = ("step", "size", "saved", "state", "val_loss", *columns, "")
        marks = {row.name: _marks(row, last, best) for row in kept.rows}
        cells = [_cells(row, list(held_out), marks[row.name]) for row in kept.rows]
        console.out("\n".join(console.table([head, *cells])))
        total = sum(row.bytes for row in kept.rows)
        free = f", {console.size(kept.free)} free" if kept.free is not None else ""
        console.say(f"{console.size(total)} in {kept.folder}{free}")
        for (_, data), column in held_out.items() if len(held_out) > 1 else ():
            console.say(console.cut_line(f"{column}: {data}", console.width()))
        for line in _evaluation_jobs(kept):
            console.say(line)
    return 0


def _held_out(kept: Kept) -> dict[tuple[str, str], str]:
    """(name, data) of what checkpoints were evaluated on -> a column's head, each another one."""
    found = dict.fromkeys((one["name"], one["data"]) for row in kept.rows for one in row.evaluations)
    heads: list[str] = []
    for name, _ in found:
        head = "held-out" if name == "default" else name
        same = sum(other.partition(" ")[0] == head for other in heads)
        heads.append(f"{head} {same + 1}" if same else head)
    return dict(zip(found, heads, strict=True))


def _evaluation_jobs(kept: Kept) -> Iterator[str]:
    """Those of `on_checkpoint` that have left no result: what has become of them, and what to do."""
    for row in kept.rows:
        job = row.evaluation_job
        if job is None or row.evaluations:
            continue
        as_job = f" as Slurm job {job['slurm_id']}, in {job['job_dir']}" if job["slurm_id"] else ""
        error = f": {job['error']}" if job["error"] else ""
        yield f"evaluation of step {row.step}: {job['state']}{as_job}{error}"
        if job["error"]:
            yield f"hint: python launch.py evaluate {kept.record.run_name}:{row.step}"


def _cells(row: Row, held_out: list[tuple[str, str]], marks: str) -> tuple[str, ...]:
    saved = console.clock(row.saved) if row.saved else ""
    loss = "" if row.val_loss is None else f"{row.val_loss:.4f}"
    losses = {(one["name"], one["data"]): f"{one['loss']:.4f}" for one in row.evaluations}
    told = (losses.get(one, "") for one in held_out)
    return str(row.step), console.size(row.bytes), saved, row.state, loss, *told, marks


def _marks(row: Row, last: Row | None, best: Row | None) -> str:
    """What is to be known of it beside its numbers."""
    told = ["last"] if row == last else []
    told += ["best"] if row == best else []
    told += ["exported"] if row.exports else []
    return ", ".join(told + [f"needed by {name}" for name in row.needed_by])


def _verify(args: argparse.Namespace, kept: Kept) -> int:
    from automodel_launch.launch.checkpoints.listing import ASIDE, COMPLETE, INCOMPLETE

    word = args.words[0] if args.words else "all"
    odd = [row for row in kept.rows if word in (row.name, str(row.step))]
    begun = [row for row in kept.rows if row.state == INCOMPLETE] if word == "all" else []
    settled = [row for row in kept.rows if row.state in (COMPLETE, ASIDE)]
    rows = settled if word == "all" else odd or [kept.find(word)]
    faults = kept.ask("verify", names=[row.name for row in rows])["faults"] if rows else {}
    if args.json:
        names = [row.name for row in begun]
        console.document({"run": kept.record.run_name, "faults": faults, "incomplete": names})
    for row in rows if not args.json else ():
        found = faults[row.name]
        console.out(f"{row.name}: {'whole' if not found else '; '.join(found)}")
    for row in begun if not args.json else ():  # no fault of a job that saves it now
        console.out(f"{row.name}: incomplete: it is being saved, or its save was cut short")
    if not kept.rows:
        console.say(f"{kept.record.run_name} has saved no checkpoint yet ({kept.folder})")
    return 3 if any(faults.values()) else 0


def _prune(args: argparse.Namespace, kept: Kept) -> int:
    from automodel_launch.launch.checkpoints import keeping, needed

    keeping.refuse_while_busy(kept.record, kept.place)
    needs = needed.of_place(workspace.find(args.env).records, kept.place)
    choice = keeping.choose(kept, int(args.keep or 1), needs)
    removed, failed = keeping.remove(kept, choice.goes) if args.yes and choice.goes else ([], {})
    if args.json:
        stays = [{"name": row.name, "why": why} for row, why in choice.stays]
        goes = [{"name": row.name, "bytes": row.bytes} for row in choice.goes]
        console.document({"keeps": stays, "removes": goes, "removed": removed, "failed": failed})
    else:
        table = [("keeps", row.name, console.size(row.bytes), why) for row, why in choice.stays]
        for row in choice.goes:
            done = "removed" if row.name in removed else "failed" if row.name in failed else "removes"
            table.append((done, row.name, console.size(row.bytes), failed.get(row.name, row.state)))
        if table:
            console.out("\n".join(console.table(table)))
        _say_what_next(args, choice.bytes, bool(choice.goes), bool(removed or failed))
    return 4 if failed else 0


def _say_what_next(args: argparse.Namespace, size: int, any_goes: bool, done: bool) -> None:
    if not any_goes:
        console.say("nothing to remove")
    elif not done:
        console.say(f"nothing was removed yet: the same with --yes frees {console.size(size)}")


COMMAND = Checkpoints()
