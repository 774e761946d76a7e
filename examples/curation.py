"""Steps of one's own for `curate`: configs/curate/tiny.yaml names functions of this file.

What datatrove asks of a step: a class whose `run` takes the documents that come in, the task's number and the number of
tasks, and yields documents. Copy this file and change it; it travels with the job, since a path of `code` holds it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from datatrove.pipeline.base import PipelineStep
from datatrove.pipeline.dedup import ExactDedupConfig


def text_of(document: Any) -> bytes:
    """What has to be equal for two documents to be one; datatrove 0.10.1 hashes bytes."""
    return b" ".join(document.text.encode("utf-8", "replace").split())


def by_text() -> Any:
    """Documents whose text is the same but for white space are duplicates."""
    return ExactDedupConfig(content_getter=text_of)


class Shortest(PipelineStep):  # type: ignore[misc, unused-ignore]
    """Leaves out documents of fewer characters."""

    type, name = "FILTER", "at least so long"

    def __init__(self, characters: int) -> None:
        super().__init__()
        self.characters = characters

    def run(self, data: Iterable[Any], rank: int = 0, world_size: int = 1) -> Iterator[Any]:
        """Pass on those that are long enough."""
        for document in data:
            self.stat_update("total")
            kept = len(document.text) >= self.characters
            self.stat_update("forwarded" if kept else "dropped")
            if kept:
                yield document
