"""One run of data preparation: plan, find what is done, do the rest, write blend.json and record.json last."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from data_prep_lib import formats, held_out, identity, latest, nodes, receipts, transfer
from data_prep_lib.blend import make_blend, relative
from data_prep_lib.budget import share_out
from data_prep_lib.claims import Claims, Queue
from data_prep_lib.config import Artifact, Config
from data_prep_lib.errors import DataPrepError, InputError
from data_prep_lib.hashes import fingerprint
from data_prep_lib.inputs import Source, find_source
from data_prep_lib.layout import HELD_OUT, SPLITS, Layout
from data_prep_lib.nodes import Node
from data_prep_lib.remote import is_remote
from data_prep_lib.safe_files import read_json, remove_leftovers, write_json
from data_prep_lib.shards import Shard, plan_shards
from data_prep_lib.vocab import TokenizerFiles, Vocab, find_tokenizer, read_vocab

Work = list[tuple[Shard, str]]  # with the hash of all that makes it

_POLL = (0.2, 5.0)  # seconds between two looks at what other nodes are making: at first, and at most
# BlendedDataset asserts it, its index being int16
_MAX_PREFIXES = 32_766


@dataclass(frozen=True)
class Job:
    config: Config
    files: TokenizerFiles
    sources: tuple[Source, ...]
    shards: tuple[Shard, ...]

    @cached_property
    def layout(self) -> Layout:
        in_parts = SPLITS if self.is_nanogpt else HELD_OUT
        sample = self.config.sample is not None
        return latest.layout_of(self.config.output_dir, fingerprint(self.identity), in_parts, sample)

    @property
    def is_nanogpt(self) -> bool:
        return self.config.format == "nanogpt"

    @cached_property
    def identity(self) -> dict[str, Any]:
        return identity.describe(self.config, self.files, self.sources, self.shards)

    @cached_property
    def work(self) -> Work:
        run = fingerprint(self.identity)
        return [(shard, fingerprint([run, shard.origin])) for shard in self.shards]

    @cached_property
    def vocab(self) -> Vocab:
        return read_vocab(self.files, self.config.add_bos, self.config.add_eos)

    def of(self, dataset: str) -> Work:
        return [item for item in self.work if item[0].dataset == dataset]


def plan(config: Config) -> Job:
    # data before tokenizer, which may have to be fetched
    sources = [find_source(dataset, config.output_dir / ".inputs") for dataset in config.datasets]
    return planned(config, sources, find_tokenizer(config.tokenizer, config.eos_token, config.bos_token))


def planned(config: Config, sources: Sequence[Source], files: TokenizerFiles) -> Job:
    """The same of sources and a tokenizer that are found already."""
    num_shards = 1 if config.sample else config.num_shards
    shards = tuple(shard for source in sources for shard in plan_shards(source, num_shards))
    if len(shards) > _MAX_PREFIXES:
        raise InputError(
            f"num_shards: {len(shards)} shards in all\n  valid: at most {_MAX_PREFIXES} in an AutoModel blend"
        )
    shards = tuple(share_out(config.max_tokens, config.datasets, shards))
    if config.format == "nanogpt":
        files = formats.document_start(files, config.add_eos)
    return Job(config, files, tuple(sources), shards)


def execute(job: Job, node: Node) -> Path:
    """Bring output_dir to its finished state, together with the other nodes; does nothing where it is.

    What a training config names: MegatronPretraining's `paths`, NanogptDataset's `file_pattern`.
    """
    layout = job.layout
    for source in job.sources:
        for note in source.notes:
            say(note)
    if job.config.publishes:
        latest.check(job.config.output_dir)
    if job.config.upload and job.config.publishes:
        transfer.check(job.config.upload)
    with nodes.locked(layout.state, node, say, lambda: _remove_leftovers(layout)):
        identity.claim(layout, job.identity)
        with nodes.one_at_a_time(layout.state, node, say):
            done, todo, unjoined = _state(job)
        if done and todo:
            say(f"{len(done)} of {len(job.shards)} shards are done already")
        facts = _make(job, todo, node)
        with nodes.one_at_a_time(layout.state, node, say):
            if todo or not node.alone:
                done, todo, unjoined = _state(job)
            if todo:
                raise DataPrepError(f"{layout.root}: shards were damaged after they were made\n  run the command again")
            return _complete(job, facts, done, unjoined)


def output_of(job: Job) -> Path:
    """The directory that the output will lie in, or lies in; nothing is written."""
    shards = job.layout
    if not shards.record.exists():
        return shards.root
    done, todo, _ = _state(job)
    return shards.root if todo else latest.with_blend(shards, _blend(job, done)).root


def _make(job: Job, todo: Work, node: Node) -> dict[str, Any]:
    """Make the shards, with the other nodes, until all are there. What is to be said of this run's speed."""
    claims = None if node.alone else Claims(job.layout.claims, say)
    queue = Queue(todo, claims, lambda item: _receipt(job, *item, joined=True) is not None, *node.turn)
    facts: dict[str, Any] = {"seconds": 0.0, "tokens_per_second": 0}
    pause, told = _POLL[0], 0.0
    while queue.left:
        if item := queue.take():
            facts = _tokenize(job, todo, queue, item, node)
            pause = _POLL[0]
        elif queue.left:
            if time.monotonic() - told > nodes.TELL:
                told = time.monotonic()
                standing = queue.standing()
                more = f"; {standing}" if standing else ""
                say(f"waiting for {queue.left} shards that other nodes are making{more}")
            time.sleep(pause)
            pause = min(_POLL[1], pause * 1.5)
    return facts


def _complete(job: Job, facts: dict[str, Any], done: dict[str, Any], unjoined: list[str]) -> Path:
    shards, blend = job.layout, _blend(job, done)
    layout = latest.with_blend(shards, blend)
    known = read_json(layout.blend)
    if not unjoined and layout.record.exists() and relative(known) == relative(blend):
        if known != blend:
            write_json(layout.blend, blend)
            say(f"{layout.root} was moved here: its blend.json names the shards at their new place now")
        say(f"nothing to do: {layout.root} holds all {len(job.shards)} shards of this tokenizer and input")
    else:
        _finish(job, layout, facts, done, unjoined)
    if layout != shards:
        say(f"{layout.root} has a blend.json of these weights; its shards are those in {shards.root}")
    if job.config.publishes:
        _point(layout)
        if job.config.upload:
            transfer.upload(shards.root, layout.root, job.config.upload, say)
        if job.config.artifact:
            _publish(job, layout, job.config.artifact, done)
    else:
        say(
            f"a sample, in {layout.root}: latest, blend.json and artifacts stay what they were; publish=true moves them"
        )
    return layout.root / "train" / "*.bin" if job.is_nanogpt else layout.blend


def _publish(job: Job, layout: Layout, artifact: Artifact, done: dict[str, Any]) -> None:
    from data_prep_lib.artifact import log_to_wandb, publish

    version, new = publish(artifact, layout, job.identity, _inputs(job, done))
    if new:
        say(f"artifact {artifact.name}:{version.name} (run.data: {artifact.name}:latest in a pretraining config)")
        if job.config.wandb:
            say(log_to_wandb(job.config.wandb, version))


def _inputs(job: Job, done: dict[str, Any]) -> Iterator[dict[str, Any]]:
    from data_prep_lib import artifact, hashes

    parts: dict[str, list[tuple[int, int, str]]] = {}
    for shard in job.shards if _hashes_inputs(job.config) else ():  # in the order of the bytes of each file
        known = done[shard.name].get("inputs") or hashes.of_ranges(shard.ranges)
        local = (piece.path for piece in shard.pieces if not is_remote(piece.path))
        for path, (_, *part) in zip(local, known, strict=True):  # not the receipt's own path: data may have been moved
            parts.setdefault(path, []).append(tuple(part))
    files = [(source.dataset.name, file) for source in job.sources for file in source.files]
    yield from artifact.describe_inputs(files, parts)


def _hashes_inputs(config: Config) -> bool:
    """Of a part of the input there is no hash: the rest is not read."""
    return config.artifact is not None and config.sample is None and config.max_tokens is None


def _remove_leftovers(layout: Layout) -> None:
    """Temporary files of processes that were killed; call it while nobody writes."""
    for directory in layout.directories():
        remove_leftovers(directory)


def _state(job: Job) -> tuple[dict[str, Any], Work, list[str]]:
    """Receipts by shard, the shards without one, and the datasets whose valid and test parts are not joined."""
    done: dict[str, Any] = {}
    unjoined = []
    for dataset in job.config.datasets:
        items = job.of(dataset.name)
        joined = _joined(job, dataset.name)
        if joined is None:
            unjoined.append(dataset.name)
        for shard, made_by in items:
            if receipt := _receipt(job, shard, made_by, joined is not None):
                done[shard.name] = receipt
    return done, [item for item in job.work if item[0].name not in done], unjoined


def _joined(job: Job, dataset: str) -> dict[str, Any] | None:
    """The receipt that makes a dataset's parts superfluous."""
    if job.is_nanogpt:
        return receipts.read(job.layout, receipts.ASSEMBLED, held_out.made_by(job.work))
    return receipts.read(job.layout, held_out.receipt_name(dataset), held_out.made_by(job.of(dataset)))


def _receipt(job: Job, shard: Shard, made_by: str, joined: bool) -> dict[str, Any] | None:
    receipt = receipts.read(job.layout, shard.name, made_by, without_parts=joined)
    incomplete = receipt and (receipt["skipped"] or receipt["lost"])
    return None if incomplete and job.config.on_error == "fail" else receipt


def _blend(job: Job, done: dict[str, Any]) -> dict[str, list[str]] | None:
    if job.is_nanogpt:
        return None
    return make_blend(job.layout, {d.name: d.weight for d in job.config.datasets}, job.shards, done)


def _finish(job: Job, layout: Layout, facts: dict[str, Any], done: dict[str, Any], unjoined: list[str]) -> None:
    """`layout`: where blend.json and record.json belong."""
    from data_prep_lib import (
        closing,
        report,
    )  # late, as numpy and tokenizers are: a run with nothing to do needs none of them

    config = job.config
    vocab = job.vocab
    counts = report.count(job.shards, done)
    facts |= closing.facts_of(job.shards, done)
    closing.check_trained_on(config, counts, facts, len(job.shards))
    facts |= _join(job, vocab.dtype, unjoined)
    held_out.remove_parts(job.layout, job.shards)  # before the record, which says that nothing is left to do
    if blend := _blend(job, done):
        write_json(layout.blend, blend)
    facts["engine"] = read_json(job.layout.engine)
    write_json(layout.record, report.make_record(config, job.files, vocab, job.sources, counts, **facts))
    say(report.table(counts))
    for line in closing.left_out(facts):
        say(line)
    for line in closing.warnings(config, counts, facts):
        say(f"warning: {line}")


def _join(job: Job, dtype: str, unjoined: list[str]) -> dict[str, Any]:
    """Bring the parts into their final form; what the record says of it."""
    if not job.is_nanogpt:
        for dataset in unjoined:
            held_out.join(job.layout, dataset, job.of(dataset), dtype, job.config.workers)
        return {}
    joined = None if unjoined else _joined(job, "")
    if joined is None:
        from data_prep_lib import assembly

        say("assembling the files ...")
        joined = assembly.assemble(job.layout, job.work, dtype, job.config.ranks)
    return {"dtype": joined["dtype"], "output": joined["listing"]}


def _tokenize(job: Job, todo: Work, queue: Queue, first: tuple[Shard, str], node: Node) -> dict[str, Any]:
    """Make `first`, which was taken, and what else can be; `todo` are the shards of all nodes."""
    from data_prep_lib import auto_tokenizer, engine_check, forks, pool, preflight, separator
    from data_prep_lib.progress import Progress, duration, short
    from data_prep_lib.worker import Settings

    config = job.config
    for source in job.sources:
        preflight.check_rows(source, config.on_error)
    vocab, copies = job.vocab, 2 if job.is_nanogpt else 1
    preflight.check_disk(config.output_dir, [shard for shard, _ in todo], vocab.dtype, config.sample, copies)
    keys = ("splits", "add_bos", "add_eos", "sample", "max_doc_tokens", "min_doc_chars", "drop_blank")
    keys += ("split_special_tokens", "on_error")  # type: ignore[assignment]
    processes = forks.context(engine_check.candidates(config.engine), job.files.path)
    shards = [shard for shard, _ in todo]
    choice = forks.call(processes, engine_check.choose, config.engine, job.files.path, shards, config.sample)
    write_json(job.layout.engine, choice.facts())  # by each node: the ids are the same whatever engines they found
    say(f"engine: {choice}")
    say(separator.line(config, job.files, vocab))
    if config.eos_token is None and config.add_eos and (better := separator.turns_end(job.files, vocab)):
        say(f"warning: that is the end of a chat's turn; set eos_token: {better!r} if the model was trained with it")
    options = {key: getattr(config, key) for key in keys}
    settings = Settings(job.layout, job.files.path, choice.engine, vocab, hash_inputs=_hashes_inputs(config), **options)
    total = sum(shard.size for shard, _ in todo)
    workers = min(config.workers, len(todo))
    say(f"{len(todo)} shards, {total / 1e6:.1f} MB of input, {workers} workers, ids {vocab.dtype}")
    kept = config.output_dir / ".inputs" / f"auto-tokenizer-{job.files.sha256[:12]}.json"
    comparison = None if config.sample else auto_tokenizer.Comparison(job.files.path, kept)
    progress = Progress(sys.stderr, None if config.sample or config.max_tokens else total, len(todo))
    if not node.alone:
        progress.of_all(lambda: len(list((job.layout.state / "receipts").glob("*.json"))), len(job.shards))
    try:
        made = pool.run(processes, first, queue, settings, workers, progress.tick, say)
        if comparison and (warning := comparison.warning()):
            say(f"warning: {warning}")
    finally:
        if comparison:
            comparison.close()
        progress.close()
    if made < len(todo):
        say(f"{made} of {len(todo)} shards were made here")
    tokens, seconds = progress.counters.get("tokens", 0), progress.seconds
    say(f"{short(tokens)} tokens in {duration(seconds)}, {short(tokens / seconds)} tokens/s")
    return {"seconds": round(seconds, 3), "tokens_per_second": round(tokens / seconds)}


def _point(layout: Layout) -> None:
    if latest.point(layout):
        say(f"{layout.root.parent}/latest is {layout.root.name} now")
        if others := latest.others(layout):
            say(f"other outputs below {layout.root.parent}: {', '.join(others)}; remove those that you do not need")


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
