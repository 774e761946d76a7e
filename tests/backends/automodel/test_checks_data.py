"""Findings about data, tokenizers, the model and directories: shards, ids, splits, context; here and on a cluster."""

from __future__ import annotations

import ast
import json
import os
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from automodel_launch.backends.automodel import checks
from automodel_launch.backends.automodel.checks import data, nanogpt
from automodel_launch.backends.automodel.checks import directories as own_directories
from automodel_launch.backends.automodel.data import request as request_
from automodel_launch.backends.data import facts, probe
from automodel_launch.checks import Finding, containers, directories
from automodel_launch.plan.mounts import Mount
from automodel_launch.plan.plan import Plan
from automodel_launch.remote.probes import Result, Results
from tests.workbench import Bench, make_bench, write_pair, write_shard

MEGATRON = "nemo_automodel.components.datasets.llm.megatron_dataset.MegatronPretraining"
NANOGPT = "nemo_automodel.components.datasets.llm.nanogpt_dataset.NanogptDataset"
LLAMA = {"_target_": "transformers.LlamaConfig", "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return make_bench(tmp_path).trains()


def _config(dataset: dict[str, Any], **sections: Any) -> str:
    section = {"_target_": MEGATRON, "splits_to_build": "train", "index_mapping_dir": "${run.dir}/i", "seq_length": 4}
    if "file_pattern" in dataset:
        section = {"_target_": NANOGPT, "seq_len": 4}
    return json.dumps({"dataset": {**section, **dataset}, **sections})


def _run(plan: Plan) -> list[Finding]:
    """The checks of this file; that all of them are run is seen in tests/slurm/test_cluster_checks.py."""
    assert {data.LOOK.here, own_directories.beside_the_data, nanogpt.validation} <= {*checks.CHECKS}
    return [*data.LOOK.here(plan), *own_directories.beside_the_data(plan), *nanogpt.validation(plan)]


def _found(bench: Bench, dataset: dict[str, Any], *codes: str, **sections: Any) -> list[Finding]:
    return [finding for finding in _run(bench.planned(_config(dataset, **sections))) if finding.code in codes]


def _one(bench: Bench, dataset: dict[str, Any], code: str, *words: str, **sections: Any) -> Finding:
    everything = _run(bench.planned(_config(dataset, **sections)))
    of_code = [finding for finding in everything if finding.code == code]
    assert len(of_code) == 1, everything
    (finding,) = of_code
    text = f"{finding.message} {finding.fix}"
    assert all(word in text for word in words), text
    return finding


# --- shards

Damage = Callable[[Path, Path], object]


def _head(kind: int = 8, version: int = 1, magic: bytes = b"MMIDIDX\0\0") -> bytes:
    return struct.pack("<9sQB", magic, version, kind)


def _patch(at: int, raw: bytes) -> Damage:
    return lambda bin_, idx: idx.write_bytes(idx.read_bytes()[:at] + raw + idx.read_bytes()[at + len(raw) :])


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda b, i: b.write_bytes(b.read_bytes()[:-2]), ["one.bin has 8 bytes", "have 10", "cut off"]),
        (lambda b, i: b.write_bytes(b.read_bytes() + b"xx"), ["longer than its .idx"]),
        (lambda b, i: b.write_bytes(b.read_bytes() * 2), ["2 bytes an id", "the .bin has 4", "garbage"]),
        (lambda b, i: i.write_bytes(i.read_bytes()[:-1]), ["one.idx has", "cut off"]),
        (lambda b, i: i.write_bytes(i.read_bytes()[:20]), ["not an index"]),
        (_patch(0, _head(magic=b"MMIDIDY\0\0")), ["not an index"]),
        (_patch(0, _head(version=2)), ["not an index"]),
        (_patch(0, _head(kind=9)), ["type 9"]),
        (_patch(0, _head(kind=7)), ["floating-point"]),
        (_patch(0, _head(kind=4)), ["4 bytes an id", "offsets are those of another"]),
        (lambda b, i: (b.unlink(), b.mkdir(), i.unlink(), i.mkdir()), []),
    ],
)
def test_a_damaged_shard(bench: Bench, tmp_path: Path, damage: Damage, words: list[str]) -> None:
    prefix = write_pair(tmp_path / "one", [1, 2, 3], [4, 5])
    assert _found(bench, {"paths": prefix}, "bad-shard", "no-data") == []
    damage(Path(f"{prefix}.bin"), Path(f"{prefix}.idx"))
    finding = _one(bench, {"paths": prefix}, "bad-shard", "dataset.paths", "stub/t.yaml:1", *words)
    assert finding.level == "error"


def test_a_shard_of_another_width_has_negative_ids(bench: Bench, tmp_path: Path) -> None:
    prefix = write_pair(tmp_path / "one", [1, 65000], kind=3)
    _one(bench, {"paths": prefix}, "bad-shard", "-536")


def test_a_shard_that_may_not_be_read(bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prefix = write_pair(tmp_path / "one", [1])

    def refuse(path: str, flags: int) -> int:
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr("automodel_launch.backends.data.probe.os.open", refuse)
    _one(bench, {"paths": prefix}, "bad-shard", "one.idx: Permission denied")


def test_each_shard_is_looked_at_and_told_of_once(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where training and validation name one blend; of many alike the first three are told."""
    names = [str(tmp_path / f"s{number}") for number in range(30)]
    for name in names[10:]:
        write_pair(Path(name), [1])
    (tmp_path / "blend.json").write_text(json.dumps({"train": names, "validation": names}))
    looked: list[str] = []
    pair = probe.Prober.pair

    def counted(self: probe.Prober, prefix: str, sampled: bool) -> dict[str, Any]:
        looked.append(prefix)
        return pair(self, prefix, sampled)

    monkeypatch.setattr(probe.Prober, "pair", counted)
    both = {"_target_": MEGATRON, "splits_to_build": "validation", "paths": str(tmp_path / "blend.json")}
    facts = _found(bench, {"paths": str(tmp_path / "blend.json")}, "no-data", validation_dataset=both)
    assert sorted(looked) == sorted(names)
    assert len(facts) == 3
    assert "7 more have the same fault" in facts[2].message


def test_each_of_several_validation_sets_is_looked_at_and_identified(bench: Bench, tmp_path: Path) -> None:
    web, code = (write_pair(tmp_path / name, *[[1, 2, 3, 4]] * 8) for name in ("web", "code"))
    held_out = {"_target_": MEGATRON, "splits_to_build": "validation", "seq_length": 4}
    named = {"validation_dataset_web": {**held_out, "paths": web}}
    both = {**named, "validation_dataset_code": {**held_out, "paths": code}}
    plans = [bench.planned(_config({"paths": web}, **sections)) for sections in (named, both)]
    assert plans[0].data["digest"] != plans[1].data["digest"]
    Path(f"{code}.bin").unlink()
    gone = _one(bench, {"paths": web}, "no-data", "validation_dataset_code.paths", **both)
    assert gone.level == "error"


def test_forms_of_paths(bench: Bench, tmp_path: Path) -> None:
    one, two = write_pair(tmp_path / "one", [1]), write_pair(tmp_path / "two", [1])
    fine: list[Any] = [f"{tmp_path}/*.bin", f"{one}.bin", f" {one} ", ["0.5", one, 0.5, two], [one, two, two]]
    for paths in fine:
        assert _found(bench, {"paths": paths}, "no-data", "bad-blend", "relative-path", "bad-shard") == [], paths
    _one(bench, {"paths": f"{tmp_path}/no*.bin"}, "no-data", "no*.bin")
    (tmp_path / "record.json").write_text("{}")
    _one(bench, {"paths": f"{tmp_path}/*e*"}, "bad-blend", "record.json")
    _one(bench, {"paths": [["0.5", one]]}, "bad-blend", "neither a weight")
    _one(bench, {"paths": ["0", one, "1", two]}, "bad-blend", "the weight 0")
    _one(bench, {"paths": [0.5, one, two, two]}, "bad-blend", "alternate")
    assert _found(bench, {"paths": ["s3://b/one"]}, "no-data", "relative-path") == []


def test_the_split_is_in_the_data(bench: Bench, tmp_path: Path) -> None:
    one = write_pair(tmp_path / "one", [1])
    blend = tmp_path / "blend.json"
    blend.write_text(json.dumps({"train": [one], "valid": [one]}))
    assert _found(bench, {"paths": str(blend), "splits_to_build": "validation"}, "no-split") == []
    assert _found(bench, {"paths": one, "splits_to_build": "test"}, "no-split") == []
    _one(bench, {"paths": str(blend), "splits_to_build": "test"}, "no-split", "train, valid only", "stub/t.yaml:1")
    _one(bench, {"paths": str(blend), "splits_to_build": None}, "no-split", "not given", "=train")
    _one(bench, {"paths": str(blend), "splits_to_build": ["train"]}, "no-split", "one of train")
    for paths, level in ((one, "error"), ([one], "error"), (str(blend), "warning"), ({"train": [one]}, "warning")):
        four = {"paths": paths, "splits_to_build": "train", "split": "90,5,5,10"}
        assert [found.level for found in _found(bench, four, "no-split")] == [level], paths
        assert _found(bench, {**four, "split": "90,5,5"}, "no-split") == []
    inline = {"paths": {"train": [one], "valid": [one]}, "splits_to_build": "validation"}
    _one(bench, inline, "no-split", "called validation")


# --- ids, positions


def test_ids_below_the_vocabulary(bench: Bench, tmp_path: Path) -> None:
    def model(size: int) -> dict[str, Any]:
        return {"_target_": "x.from_config", "config": {**LLAMA, "vocab_size": size}}

    prefix = write_pair(tmp_path / "one", list(range(100)), [7] * 9000, [99])
    assert _found(bench, {"paths": prefix}, "vocabulary", model=model(100)) == []
    finding = _one(
        bench,
        {"paths": prefix},
        "vocabulary",
        "the id 99",
        "model.config.vocab_size = 99 (stub/t.yaml:1)",
        model=model(99),
    )
    assert finding.level == "error"
    record = {"tokenizer": {"name": "big", "path": "/t", "sha256": "0", "vocab_size": 130}}
    (tmp_path / "record.json").write_text(json.dumps(record))
    (tmp_path / "blend.json").write_text(json.dumps([prefix]))
    finding = _one(bench, {"paths": str(tmp_path / "blend.json")}, "vocabulary", "up to 129", model=model(120))
    assert finding.level == "warning"
    record["tokenizer"]["vocab_size"] = 70_000
    (tmp_path / "record.json").write_text(json.dumps(record))
    _one(bench, {"paths": str(tmp_path / "blend.json")}, "bad-shard", "2 bytes an id", "70,000")


def test_sequences_within_the_models_context(bench: Bench, tmp_path: Path) -> None:
    prefix = write_pair(tmp_path / "one", [1])
    gpt2 = {"_target_": "nemo_automodel.components.models.gpt2.build_gpt2_model", "n_positions": 64}
    (tmp_path / "config.json").write_text(
        json.dumps({**LLAMA, "model_type": "llama", "max_position_embeddings": 32, "vocab_size": 9})
    )
    loaded = {"_target_": "x.from_pretrained", "pretrained_model_name_or_path": str(tmp_path)}
    for model, level, most in ((gpt2, "error", 64), (loaded, "warning", 32)):
        assert _found(bench, {"paths": prefix, "seq_length": most}, "context", model=model) == []
        section = {"paths": prefix, "seq_length": most + 1}
        finding = _one(bench, section, "context", f" = {most} (", f"dataset.seq_length={most}", model=model)
        assert finding.level == level


# --- nanoGPT


def test_damaged_nanogpt_shards(bench: Bench, tmp_path: Path) -> None:
    path = Path(write_shard(tmp_path / "a.bin", list(range(50))))
    whole = path.read_bytes()
    section = {"file_pattern": str(tmp_path / "*.bin")}
    assert _found(bench, section, "bad-shard", "no-data", "nanogpt-few") == []
    for raw, word in (
        (whole[:-1], "cut off"),
        (whole + b"x", "longer"),
        (b"\1" + whole[1:], "does not start"),
        (whole[:12] + b"\3" + whole[13:], "does not start"),
        (whole[:8] + bytes(4) + whole[12:], "killed"),
    ):
        path.write_bytes(raw)
        _one(bench, section, "bad-shard", "a.bin", word, "dataset.file_pattern")


def test_nanogpt_readers_have_a_sequence_each(bench: Bench, tmp_path: Path) -> None:
    write_shard(tmp_path / "a.bin", [1] * 9)
    section = {"file_pattern": str(tmp_path / "*.bin"), "seq_len": 4}
    _one(bench, section, "nanogpt-few", "gets 4 tokens", "of the 2", "dataset.seq_len = 4")
    write_shard(tmp_path / "a.bin", [1] * 10)
    assert _found(bench, section, "nanogpt-few") == []
    _one(bench, section, "nanogpt-validation", "~validation_dataset", validation_dataset={"_target_": NANOGPT})


def test_positions_of_bos(bench: Bench, tmp_path: Path) -> None:
    write_shard(tmp_path / "a.bin", [0, 1, 1, 0, 1, 1, 1, 1, 1, 1, 1, 1])
    section = {"file_pattern": str(tmp_path / "*.bin"), "align_to_bos": True}
    _one(bench, section, "bos-index", "needs dataset.bos_token")
    section["bos_token"] = 0
    assert _one(bench, section, "bos-index", "there is no").level == "warning"
    index = tmp_path / "a.bos.idx"
    for positions, word in (((0, 3), ""), ((1024, 1030), "byte offsets"), ((0, 2), "ids 0, 1"), ((), "byte")):
        index.write_bytes(struct.pack(f"<{len(positions)}i", *positions))
        if word:
            _one(bench, section, "bos-index", word, "a.bos.idx")
        else:
            assert _found(bench, section, "bos-index") == []
    (tmp_path / "train").mkdir()
    write_shard(tmp_path / "train" / "a.bin", [5] * 12)
    (tmp_path / "record.json").write_text(json.dumps({"tokenizer": {"bos_id": 5}}))
    section["file_pattern"] = str(tmp_path / "train" / "*.bin")
    _one(bench, section, "bos-index", "dataset.bos_token=5")


# --- directories, model


def test_directories_that_cannot_be_written(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    prefix, bad = write_pair(tmp_path / "one", [1]), str(tmp_path / "file" / "x")
    section = {"paths": prefix, "index_mapping_dir": bad}
    _one(bench, section, "index-dir", "dataset.index_mapping_dir", "${run.dir}/index/train", "Not a directory")
    _one(bench, {"paths": prefix}, "checkpoint-dir", bad, "stub/t.yaml:1", checkpoint={"checkpoint_dir": bad})
    assert _one(bench, {"paths": prefix, "index_mapping_dir": None}, "index-dir", "not given").level == "warning"


def test_a_directory_that_only_one_node_has(bench: Bench, tmp_path: Path) -> None:
    bench.env(
        '[two]\nexecutor = "slurm"\naccount = "a"\npartition = "p"\nnodes = 2\ngpus_per_node = 1\ntime = "1:00"\n'
        'container_image = "none"\nremote_job_dir = "/shared/jobs"\n'
    )
    text = _config({"index_mapping_dir": "/tmp/index"}, checkpoint={"checkpoint_dir": "${run.dir}/c"})
    plan = bench.planned(text, profile="two")
    (finding,) = directories.shared(plan)
    assert "/tmp is a directory of one node" in finding.message
    inside = replace(plan, image="nvcr.io#nvidia/nemo:25.07", mounts=(Mount("/lustre", "/lustre"),))
    (finding,) = containers.visible_inside(replace(inside, config={"checkpoint": {"checkpoint_dir": "/data/c"}}))
    assert "lost with the container" in finding.message
    assert (
        list(containers.visible_inside(replace(inside, config={"checkpoint": {"checkpoint_dir": "/lustre/c"}}))) == []
    )


def test_a_model_that_is_not_there(bench: Bench, tmp_path: Path) -> None:
    def model(path: str) -> dict[str, Any]:
        return {"_target_": "x.from_pretrained", "pretrained_model_name_or_path": path}

    _one(bench, {}, "no-model", "no such directory", "model.pretrained", model=model(str(tmp_path / "no")))
    (tmp_path / "m").mkdir()
    _one(bench, {}, "no-model", "no config.json", model=model(str(tmp_path / "m")))
    (tmp_path / "m" / "config.json").write_text("{}")
    for name in (str(tmp_path / "m"), "Qwen/Qwen3-30B-A3B"):
        assert _found(bench, {}, "no-model", model=model(name)) == []


# --- on a cluster


def _remote(bench: Bench, *configs: dict[str, Any]) -> list[Plan]:
    """Plans of a profile behind a tunnel; making one takes NeMo-Run a while."""
    bench.env(
        '[far]\nexecutor = "slurm"\naccount = "a"\npartition = "p"\nnodes = 1\ngpus_per_node = 1\ntime = "1:00"\n'
        'tunnel = "ssh"\nhost = "login"\ncontainer_image = "none"\nremote_job_dir = "/shared/jobs"\n'
    )
    plan = bench.planned("a: 1\n", profile="far")
    return [replace(plan, config=json.loads(_config(config))) for config in configs] or [plan]


def _answered(plan: Plan, answer: Result) -> list[Finding]:
    return list(data.LOOK.judge(plan, Results({"data": answer}, 0.0)))


def test_what_could_not_be_asked_is_said(bench: Bench, tmp_path: Path) -> None:
    many = [f"/far/{'x' * 90}/{number}" for number in range(900)]
    plan, large = _remote(bench, {"paths": "/far/one"}, {"paths": many})
    assert "far" in data.LOOK.questions(plan)["data"]
    for answer, word in ((Result(127, ""), "no python3"), (Result(124, ""), "no answer"), (Result(1, "odd"), "odd")):
        (finding,) = _answered(plan, answer)
        assert (finding.level, finding.code) == ("note", "not-looked-at")
        assert word in finding.message
    assert data.LOOK.questions(large) == {}
    assert "more files" in _answered(large, Result(0, ""))[0].message
    assert data.LOOK.questions(replace(plan, config={"a": 1})) == {}


def test_a_slow_file_system_is_said(bench: Bench, tmp_path: Path) -> None:
    (plan,) = _remote(bench, {"paths": [write_pair(tmp_path / "one", [1]), str(tmp_path / "two")]})
    request = facts.message(plan, request_.of(plan), -1.0)
    (finding,) = [f for f in _answered(plan, Result(0, json.dumps(probe.answer(request)))) if f.code == "not-looked-at"]
    assert "2 shards were not looked at" in finding.message


def test_paths_of_a_container_are_looked_at_where_they_lie(bench: Bench, tmp_path: Path) -> None:
    """Through its mounts, with a variable that the login has; a pattern's files come back under their own names."""
    write_pair(tmp_path / "one", [1])
    prober = probe.Prober([["/data", str(tmp_path)], ["/data/own", "$NOT_SET_HERE/x"], ["/home", "~"]], 5.0)
    assert prober.matches("/data/*.bin") == {"files": ["/data/one.bin"]}
    assert prober.pair("/data/one", True)["high"] == 1
    assert prober.pair("/data/two", True)["file"] == "/data/two.bin"
    assert prober.place("/home/x") == os.path.expanduser("~/x")  # noqa: PTH111
    for path in ("/data/own/x", "/elsewhere", "/database"):
        assert prober.pair(path, True) == {"elsewhere": True}


def test_what_is_sent_runs_on_old_pythons() -> None:
    tree = ast.parse(Path(probe.__file__).read_text(), feature_version=(3, 6))
    imported = [node for node in ast.walk(tree) if isinstance(node, (ast.Import, ast.ImportFrom))]
    names = {alias.name for node in imported if isinstance(node, ast.Import) for alias in node.names}
    assert names == {"array", "glob", "hashlib", "json", "os", "struct", "sys", "time"}
    assert [node.module for node in imported if isinstance(node, ast.ImportFrom)] == ["typing"]
