"""What the receipts of all shards say together: facts for record.json, and what a person has to hear at the end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from data_prep_lib.config import Config
from data_prep_lib.errors import InputError
from data_prep_lib.report import Counts
from data_prep_lib.shards import Shard

_SUMS = ("skipped", "short", "blank", "special_documents")


def facts_of(shards: Sequence[Shard], receipts: Mapping[str, Any]) -> dict[str, Any]:
    """What was left out of the output, and special tokens that were found in texts."""
    found = [receipts[shard.name] for shard in shards]
    facts: dict[str, Any] = {key: sum(receipt[key] for receipt in found) for key in _SUMS}
    facts["skipped_rows"] = [row for receipt in found for row in receipt["skipped_rows"]]
    facts["lost"] = [lost for receipt in found for lost in receipt["lost"]]
    special: Counter[str] = Counter()
    for receipt in found:
        special.update(receipt["special_tokens"])
    facts["special_tokens"] = dict(special)
    return facts


def check_trained_on(config: Config, counts: Counts, facts: Mapping[str, Any], shards: int) -> None:
    """Refuse an output without a training document, for the reason that is the true one.

    Raises:
        InputError: there is none.
    """
    if any(splits["train"]["tokens"] for splits in counts.values()):
        return
    documents = sum(numbers["documents"] for splits in counts.values() for numbers in splits.values())
    if documents:
        what, fix = f"none of {documents} documents went to the training split", "add data, or change `splits`"
    elif facts["skipped"] or facts["lost"]:
        first = facts["skipped_rows"][0] if facts["skipped_rows"] else _lost(facts["lost"][0])
        what, fix = (
            f"all {facts['skipped']} rows were skipped, the first: {first}",
            "set `text_field`, or mend the data",
        )
    elif facts["short"] or facts["blank"]:
        what = f"all documents were left out: {facts['blank']} blank, {facts['short']} shorter than min_doc_chars"
        fix = "add data, or set a lower min_doc_chars"
    elif config.max_tokens is not None:
        extra = config.add_bos + config.add_eos
        what = f"no document has room: a shard of {shards} gets a part of {config.max_tokens} tokens by its bytes, and"
        what += f" a document needs {extra + 1}, BOS and EOS included"
        raise InputError(f"max_tokens: {what}\n  set a higher one, or num_shards: 1")
    else:
        what, fix = "no document is in them", "add data"
    raise InputError(f"datasets: {what}\n  {fix}")


def warnings(config: Config, counts: Counts, facts: Mapping[str, Any]) -> Iterator[str]:
    """Splits and sources that came out empty, and special tokens inside texts."""
    for name, splits in counts.items():
        if not any(numbers["documents"] for numbers in splits.values()):
            yield f"dataset {name!r} has no document: nothing of it is in the output"
        elif not splits["train"]["documents"]:
            yield f"dataset {name!r} has no training document: all went to validation and test"
    for split, share in config.splits.items():
        if share and not any(splits[split]["documents"] for splits in counts.values()):
            total = sum(numbers["documents"] for splits in counts.values() for numbers in splits.values())
            yield f"splits.{split}: a share of {share:g} of {total} documents came out empty; blend.json leaves it out"
    if facts["special_tokens"]:
        named = ", ".join(
            f"{token!r} {_many(count, 'time')}" for token, count in sorted(facts["special_tokens"].items())
        )
        how = (
            "as text"
            if config.split_special_tokens
            else "as their ids (split_special_tokens: true encodes them as text)"
        )
        yield f"special tokens stand in {_many(facts['special_documents'], 'document')}, written {how}: {named}"


def left_out(facts: Mapping[str, Any]) -> Iterator[str]:
    """What is not in the output, in one line each."""
    if facts["skipped"]:
        yield f"{facts['skipped']} bad rows were skipped; record.json lists them, the first: {facts['skipped_rows'][0]}"
    for lost in facts["lost"]:
        yield _lost(lost)
    if facts["blank"]:
        yield f"{facts['blank']} blank documents were left out (drop_blank: false keeps them)"
    if facts["short"]:
        yield f"{facts['short']} documents were shorter than min_doc_chars and left out"


def _many(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"


def _lost(lost: Mapping[str, Any]) -> str:
    much = f"{lost['documents']} documents" if "documents" in lost else f"{lost['bytes']} bytes (as on the disk)"
    if lost.get("bytes") == 0:  # cut off: the loss is no part of the file
        much = "the rest, which is not in the file, is"
    return f"{lost['file']}:{lost['at']}: {lost['what']}; {much} lost, what comes before was kept"
