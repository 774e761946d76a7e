"""`checkpoints RUN export` and `push`: a checkpoint leaves its run."""

from __future__ import annotations

import argparse
import os
import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

from automodel_launch import contract
from automodel_launch.commands import console
from automodel_launch.errors import UsageError
from automodel_launch.launch.checkpoints import asking, card
from automodel_launch.remote.filesystem import LOCAL

if TYPE_CHECKING:
    from automodel_launch.launch.checkpoints.listing import Kept, Row

_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", re.ASCII)
_OF_THE_HUB = ("HF_ENDPOINT", "HF_HUB_DISABLE_XET", "HF_HUB_OFFLINE")  # go along where the upload is made elsewhere


def export(args: argparse.Namespace, kept: Kept) -> int:
    """A directory that transformers loads, with a model card."""
    row = kept.find(args.words[0])
    output = _directory(kept, args.words[1]) if len(args.words) > 1 else ""
    done = _exported(kept, row, output)
    if args.json:
        console.document({"checkpoint": row.name, "step": row.step, **done})
        return 0
    if done["there"]:
        console.say(f"{row.name} was exported before")
    console.out(done["output"])
    return 0


def push(args: argparse.Namespace, kept: Kept) -> int:
    """Export, and upload that."""
    word, repository = args.words if len(args.words) == 2 else ("last", args.words[0])
    if not _REPOSITORY.fullmatch(repository):
        raise UsageError(f"push {repository}: a repository of the hub is ORG/NAME.", "push my-org/my-model")
    row = kept.find(word)
    if contract.MEGATRON_CHECKPOINT.fullmatch(row.name):
        raise UsageError(
            f"{row.name} is in Megatron's format, which the hub's readers do not load.", _convert(kept, row)
        )
    done = _exported(kept, row, "")
    console.say(f"uploading {done['output']} to {repository} ...")
    environ = {name: os.environ[name] for name in _OF_THE_HUB if name in os.environ}
    answer = kept.ask(
        "push",
        asking.WORK_S,
        os.environ.get("HF_TOKEN"),
        folder=done["output"],
        repo=repository,
        private=not args.public,
        message=f"{kept.record.run_name}, step {row.step}",
        environ=environ,
    )
    if args.json:
        console.document({"checkpoint": row.name, "step": row.step, **answer})
    else:
        known = {True: " (private)", False: " (public)"}.get(answer["private"], "")
        console.out(f"{answer['url']}{known}")
    return 0


def _exported(kept: Kept, row: Row, output: str) -> dict[str, Any]:
    return kept.ask(
        "export",
        asking.WORK_S,
        source=f"{kept.folder}/{row.name}",
        output=output,
        texts=card.texts(kept, row),
        others=kept.ways_on(row),
        convert=_convert(kept, row),
    )


def _convert(kept: Kept, row: Row) -> str:
    source = shlex.quote(f"{kept.folder}/{row.name}")
    return f"python launch.py convert megatron-to-hf source={source} output=DIR"


def _directory(kept: Kept, word: str) -> str:
    """An absolute path where the checkpoints are: here a relative one is below the current directory."""
    if not word:
        raise UsageError("export: DIR is empty.", "export STEP DIR")
    if kept.place == LOCAL:
        return str(Path(word).expanduser().absolute())
    if not word.startswith("/"):
        raise UsageError(f"export: {word} is relative, and the checkpoints are elsewhere.", "an absolute path there")
    return word
