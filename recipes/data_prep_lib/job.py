"""One run of data preparation: plan, find what is done, do the rest, write blend.json and record.json last."""

from __future__ import annotations

import dataclasses
import sys
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from data_prep_lib import assembly, formats, held_out, identity, receipts
from data_prep_lib.blend import make_blend
from data_prep_lib.config import Config
from data_prep_lib.errors import InputError
from data_prep_lib.inputs import Source, find_source
from data_prep_lib.layout import HELD_OUT, SPLITS, Layout
from data_prep_lib.safe_files import read_json, remove_leftovers, write_json
from data_prep_lib.shards import Shard, plan_shards
from data_prep_lib.vocab import TokenizerFiles, find_tokenizer, read_vocab

# BlendedDataset asserts it, its index being int16
_MAX_PREFIXES = 32_766


@dataclass(frozen=True)
class Job:
    config: Config
    files: TokenizerFiles
    sources: tuple[Source, ...]
    shards: tuple[Shard, ...]

    @property
    def layout(self) -> Layout:
        return Layout(self.config.output_dir, SPLITS if self.is_nanogpt else HELD_OUT)

    @property
    def is_nanogpt(self) -> bool:
        return self.config.format == "nanogpt"

    @property
    def product(self) -> Path:
        """What a training config names: MegatronPretraining's `paths`, NanogptDataset's `file_pattern`."""
        return self.layout.root / "train" / "*.bin" if self.is_nanogpt else self.layout.blend

    @cached_property
    def identity(self) -> dict[str, Any]:
        return identity.describe(self.config, self.files, self.sources, self.shards)

    @cached_property
    def work(self) -> list[tuple[Shard, str]]:
        """Each shard with the hash of all that makes it."""
        run = identity.fingerprint(self.identity)
        return [(shard, identity.fingerprint([run, dataclasses.asdict(shard)])) for shard in self.shards]

    def of(self, dataset: str) -> list[tuple[Shard, str]]:
        return [item for item in self.work if item[0].dataset == dataset]


def plan(config: Config) -> Job:
    # data before tokenizer, which may have to be fetched
    sources = tuple(find_source(dataset) for dataset in config.datasets)
    num_shards = 1 if config.sample else config.num_shards
    shards = tuple(shard for source in sources for shard in plan_shards(source, num_shards))
    if len(shards) > _MAX_PREFIXES:
        raise InputError(
            f"num_shards: {len(shards)} shards in all\n  valid: at most {_MAX_PREFIXES} in an AutoModel blend"
        )
    files = find_tokenizer(config.tokenizer)
    if config.format == "nanogpt":
        files = formats.document_start(files, config.add_eos)
    return Job(config, files, sources, shards)


def execute(job: Job) -> None:
    """Bring output_dir to its finished state; does nothing where it is."""
    layout = job.layout
    with identity.locked(layout):
        identity.claim(layout, job.identity)
        for directory in layout.directories():
            remove_leftovers(directory)
        done, todo, unjoined = _state(job)
        if not todo and not unjoined and layout.record.exists() and read_json(layout.blend) == _blend(job, done):
            say(f"nothing to do: {layout.root} holds all {len(job.shards)} shards of this tokenizer and input")
            return
        if done:
            say(f"{len(done)} of {len(job.shards)} shards are done already")
        _finish(job, done, todo, unjoined)


def _state(job: Job) -> tuple[dict[str, Any], list[tuple[Shard, str]], list[str]]:
    """Receipts by shard, the shards without one, and the datasets whose valid and test parts are not joined."""
    done: dict[str, Any] = {}
    unjoined = []
    for dataset in job.config.datasets:
        items = job.of(dataset.name)
        joined = _joined(job, dataset.name)
        if joined is None:
            unjoined.append(dataset.name)
        for shard, made_by in items:
            receipt = receipts.read(job.layout, shard.name, made_by, without_parts=joined is not None)
            if receipt and not (receipt["skipped"] and job.config.on_error == "fail"):
                done[shard.name] = receipt
    return done, [item for item in job.work if item[0].name not in done], unjoined


def _joined(job: Job, dataset: str) -> dict[str, Any] | None:
    """The receipt that makes a dataset's parts superfluous."""
    if job.is_nanogpt:
        return receipts.read(job.layout, assembly.RECEIPT, held_out.made_by(job.work))
    return receipts.read(job.layout, held_out.receipt_name(dataset), held_out.made_by(job.of(dataset)))


def _blend(job: Job, done: dict[str, Any]) -> dict[str, list[str]] | None:
    if job.is_nanogpt:
        return None
    return make_blend(job.layout, {d.name: d.weight for d in job.config.datasets}, job.shards, done)


def _finish(job: Job, done: dict[str, Any], todo: list[tuple[Shard, str]], unjoined: list[str]) -> None:
    from data_prep_lib import report  # late, as numpy and tokenizers are: a run with nothing to do needs none of them

    config, layout = job.config, job.layout
    vocab = read_vocab(job.files, config.add_bos, config.add_eos)
    facts: dict[str, Any] = {"seconds": 0.0, "tokens_per_second": 0}  # of this run, resumed or not
    if todo:
        facts = _tokenize(job, vocab, todo)
    for shard, made_by in todo:
        receipt = receipts.read(layout, shard.name, made_by)
        assert receipt is not None
        done[shard.name] = receipt
    counts = report.count(job.shards, done)
    if not any(splits["train"]["tokens"] for splits in counts.values()):
        raise InputError("datasets: no document went to the training split\n  add data, or change `splits`")
    facts |= {key: sum(r[key] for r in done.values()) for key in ("skipped", "short")}
    facts["skipped_rows"] = [row for shard in job.shards for row in done[shard.name]["skipped_rows"]]
    facts |= _join(job, vocab.dtype, unjoined)
    held_out.remove_parts(layout, job.shards)  # before the record, which says that nothing is left to do
    if blend := _blend(job, done):
        write_json(layout.blend, blend)
    write_json(layout.record, report.make_record(config, job.files, vocab, job.sources, counts, **facts))
    say(report.table(counts))
    _say_left_out(facts)


def _join(job: Job, dtype: str, unjoined: list[str]) -> dict[str, Any]:
    """Bring the parts into their final form; what the record says of it."""
    if not job.is_nanogpt:
        for dataset in unjoined:
            held_out.join(job.layout, dataset, job.of(dataset), dtype)
        return {}
    joined = None if unjoined else _joined(job, "")
    if joined is None:
        say("assembling the files ...")
        joined = assembly.assemble(job.layout, job.work, dtype, job.config.ranks)
    return {"dtype": joined["dtype"], "output": joined["listing"]}


def _tokenize(job: Job, vocab: Any, todo: list[tuple[Shard, str]]) -> dict[str, Any]:
    from data_prep_lib import pool, preflight
    from data_prep_lib.progress import Progress, duration, short
    from data_prep_lib.worker import Settings

    config = job.config
    for source in job.sources:
        preflight.check_rows(source, config.on_error)
    shards = [shard for shard, _ in todo]
    preflight.check_disk(config.output_dir, shards, vocab.dtype, config.sample, copies=2 if job.is_nanogpt else 1)
    keys = ("splits", "add_bos", "add_eos", "sample", "max_doc_tokens", "min_doc_chars", "on_error")
    settings = Settings(job.layout, job.files.path, vocab, **{key: getattr(config, key) for key in keys})
    total = sum(shard.size for shard in shards)
    workers = min(config.workers, len(todo))
    say(f"{len(todo)} shards, {total / 1e6:.1f} MB of input, {workers} workers, ids {vocab.dtype}")
    progress = Progress(sys.stderr, None if config.sample else total, len(todo))
    try:
        pool.run(todo, settings, workers, progress.tick)
    finally:
        progress.close()
    tokens, seconds = progress.counters.get("tokens", 0), progress.seconds
    say(f"{short(tokens)} tokens in {duration(seconds)}, {short(tokens / seconds)} tokens/s")
    return {"seconds": round(seconds, 3), "tokens_per_second": round(tokens / seconds)}


def _say_left_out(facts: dict[str, Any]) -> None:
    if facts["skipped"]:
        say(f"{facts['skipped']} bad rows were skipped; record.json lists them, the first: {facts['skipped_rows'][0]}")
    if facts["short"]:
        say(f"{facts['short']} documents were shorter than min_doc_chars and left out")


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
