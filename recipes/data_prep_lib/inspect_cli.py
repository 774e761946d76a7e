"""`data_prep.py inspect PATH`: options, text and JSON."""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data_prep_lib import formats, schema
from data_prep_lib.errors import InputError
from data_prep_lib.inspect_found import Expected, Found
from data_prep_lib.inspect_path import Inspection, inspect
from data_prep_lib.progress import short
from data_prep_lib.safe_files import disk_error

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_SHOWN_CHARS = 160
_ABOUT = """Says what is in tokenized data, and every damage. PATH is an output directory of data-prep, a blend.json, a
Megatron bin/idx pair (its prefix or either file) or a nanoGPT .bin. Exit code 1 where damage was found, 2 where there
is nothing to look at."""


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="data-prep inspect", description=_ABOUT, allow_abbrev=False)
    parser.add_argument("path", type=Path, metavar="PATH")
    parser.add_argument("--tokenizer", metavar="DIR", help="directory or hub id (default: the one in record.json)")
    parser.add_argument("--documents", type=int, default=3, metavar="N", help="documents shown (default: 3)")
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
    args = parser.parse_args(argv)
    if args.documents < 0:
        raise schema.bad("--documents", args.documents, "a whole number, 0 or more")
    try:
        given = _given(args.tokenizer)
        inspection = inspect(args.path, Expected(given.get("vocab_size"), given.get("bos_id"), None, args.documents))
    except OSError as e:
        raise disk_error(e, args.path) from None
    used = given or inspection.record.get("tokenizer", {})
    tokenizer, notes = _load(used, inspection.record)
    first = _first(inspection, tokenizer, args.documents)
    if args.json:
        print(json.dumps(_document(inspection, used, first, notes), indent=1, ensure_ascii=False))
    else:
        print(_text(inspection, used, first, notes))
    return 1 if inspection.is_damaged else 0


# --- the tokenizer


def _given(name: str | None) -> dict[str, Any]:
    """The tokenizer of the command line, in the form of record.json's."""
    if name is None:
        return {}
    from data_prep_lib.vocab import find_tokenizer, read_vocab

    files = formats.document_start(find_tokenizer(name), add_eos=False)
    vocab = read_vocab(files, add_bos=False, add_eos=False)
    sizes = {"vocab_size": vocab.size, "eos_id": vocab.eos_id, "bos_id": vocab.bos_id}
    return {"name": name, "path": files.path, "sha256": files.sha256, **sizes}


def _load(used: dict[str, Any], record: dict[str, Any]) -> tuple[Tokenizer | None, list[str]]:
    """(tokenizer, what is to be said of it)"""
    if not used:
        return None, ["no tokenizer is known: ids are not compared with a vocabulary; name it with --tokenizer DIR"]
    try:
        digest = hashlib.sha256(Path(used["path"]).read_bytes()).hexdigest()
        notes = []
        if record and digest != record["tokenizer"]["sha256"]:
            notes = [f"{used['path']} is not the tokenizer that made these data (record.json has another sha256)"]
        from data_prep_lib.vocab import load_tokenizer

        return load_tokenizer(used["path"]), notes
    except (OSError, InputError, ImportError) as e:
        return None, [f"documents are not decoded: {e}"]


def _first(inspection: Inspection, tokenizer: Tokenizer | None, count: int) -> list[dict[str, Any]]:
    """The first documents: of the first file, then of the next one."""
    shown = [(found.path, i, ids) for found in inspection.files for i, ids in enumerate(found.first)][:count]
    return [
        {"file": path, "document": i, "ids": ids, "text": None if tokenizer is None else _decode(tokenizer, ids)}
        for path, i, ids in shown
    ]


def _decode(tokenizer: Tokenizer, ids: list[int]) -> str | None:
    try:
        return str(tokenizer.decode(ids, skip_special_tokens=False))
    except Exception:  # tokenizers raises bare Exception, and OverflowError for ids below 0
        return None


# --- what is printed


def _document(inspection: Inspection, used: dict[str, Any], first: list[Any], notes: list[str]) -> dict[str, Any]:
    files = [dataclasses.asdict(found) for found in inspection.files]
    for file in files:
        del file["first"]
    return {
        "path": inspection.path,
        "tokenizer": used or None,
        "files": files,
        "documents": first,
        "damage": inspection.damage,
        "notes": notes,
        "is_damaged": inspection.is_damaged,
    }


def _text(inspection: Inspection, used: dict[str, Any], first: list[Any], notes: list[str]) -> str:
    lines = [inspection.path]
    if used:
        lines.append(f"tokenizer {used['name']}: {used['vocab_size']} ids, BOS {used['bos_id']}, EOS {used['eos_id']}")
    lines += ["", *_table(inspection.files), ""] if inspection.files else [""]
    for item in first:
        text = json.dumps(item["text"], ensure_ascii=False) if item["text"] is not None else str(item["ids"])
        more = " ..." if len(text) > _SHOWN_CHARS else ""
        lines.append(f"{Path(item['file']).name} document {item['document']}: {text[:_SHOWN_CHARS]}{more}")
    lines += [f"note: {note}" for note in notes]
    lines += [f"note: {found.path}: {note}" for found in inspection.files for note in found.notes]
    damage = [*inspection.damage, *(f"{found.path}: {what}" for found in inspection.files for what in found.damage)]
    lines += [f"damage: {what}" for what in damage] or ["no damage found"]
    return "\n".join(lines)


def _table(files: list[Found]) -> list[str]:
    rows = [("split", "file", "format", "dtype", "tokens", "documents", "longest", "ids", "weight")]
    for found in files:
        numbers = (found.tokens, found.documents, found.longest)
        ids = "?" if found.min_id is None else f"{found.min_id}-{found.max_id}"
        texts = ("?" if number is None else str(number) for number in numbers)
        weight = "" if found.weight is None else f"{found.weight:g}"
        rows.append(
            (found.split or "", Path(found.path).name, found.format, found.dtype or "?", *texts, ids, weight)  # type: ignore[arg-type]
        )
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    table = [
        "  ".join([*map(str.ljust, row[:4], widths), *map(str.rjust, row[4:], widths[4:])]).rstrip() for row in rows
    ]
    total = sum(found.tokens or 0 for found in files)
    return [*table, f"{len(files)} files, {short(total)} tokens"]
