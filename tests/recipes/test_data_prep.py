"""recipes/data_prep.py: what it writes is what AutoModel reads, whatever the form of the input and the workers."""

from __future__ import annotations

import gzip
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import LIMIT_S
from tests.recipes.data_prep_fixtures import (  # type: ignore[import-not-found, unused-ignore]
    RECIPE,
    config,
    digests,
    documents,
    leftovers,
    make_tokenizer,
    output,
    prepare,
    write_jsonl,
)

REPOSITORY = RECIPE.parents[1]


def read(root: Path, split: str, name: str = "web") -> list[list[int]]:
    """The documents of a split, through AutoModel's own reader."""
    from nemo_automodel.components.datasets.llm.megatron.indexed_dataset import IndexedDataset

    prefixes = sorted((root / split).glob(f"{name}_*.idx"))
    return [ids.tolist() for p in prefixes for ids in IndexedDataset(str(p.with_suffix("")))]


def encode(tokenizer: Path, texts: list[str]) -> list[list[int]]:
    """The ids that transformers gives, with EOS."""
    from transformers import AutoTokenizer

    loaded = AutoTokenizer.from_pretrained(tokenizer)
    return [
        [*loaded(text, add_special_tokens=False, truncation=False)["input_ids"], loaded.eos_token_id] for text in texts
    ]


def test_automodel_reads_the_ids_of_the_tokenizer(tmp_path: Path) -> None:
    texts = documents(300)
    values = config(tmp_path, write_jsonl(tmp_path / "a.jsonl", texts))
    done = prepare(values, tmp_path)
    out = output(tmp_path / "out")
    assert done.stdout == f"{out}/blend.json\n"
    splits = {split: read(out, split) for split in ("train", "valid", "test")}
    assert sorted(ids for found in splits.values() for ids in found) == sorted(encode(tmp_path / "tokenizer", texts))
    # pins the hash: it must not change with the machine
    assert [len(splits[split]) for split in splits] == [224, 38, 38]
    record = json.loads((out / "record.json").read_text())
    assert record["counts"]["web"]["valid"]["documents"] == 38
    vocabulary = json.loads((tmp_path / "tokenizer" / "tokenizer.json").read_text())["model"]["vocab"]
    assert record["tokenizer"]["vocab_size"] == len(vocabulary)
    assert record["dtype"] == "uint16" and record["skipped"] == 0
    assert "web" in done.stderr and "tokens/s" in done.stderr
    assert not list((out / ".data_prep" / "parts").rglob("*.bin"))


def test_automodel_takes_blend_json_for_every_split(tmp_path: Path) -> None:
    from nemo_automodel.components.datasets.llm.megatron_dataset import MegatronPretraining
    from transformers import AutoTokenizer

    large, small = (
        write_jsonl(tmp_path / "l.jsonl", documents(300)),
        write_jsonl(tmp_path / "s.jsonl", documents(60, "s")),
    )
    datasets = [{"name": "l", "path": str(large), "weight": 3}, {"name": "s", "path": str(small), "weight": 1.5}]
    prepare(config(tmp_path, large, datasets=datasets), tmp_path)
    blend = json.loads((tmp_path / "out" / "blend.json").read_text())
    weights = dict(zip(blend["train"][1::2], map(float, blend["train"][::2]), strict=True))
    assert sum(w for path, w in weights.items() if "/l_" in path) == pytest.approx(3)
    assert sum(w for path, w in weights.items() if "/s_" in path) == pytest.approx(1.5)

    for limit in (1, 1.0, 4):  # 1.0 is the whole split, which takes no weights
        built = MegatronPretraining(
            paths=str(tmp_path / "out" / "blend.json"),
            seq_length=64,
            tokenizer=AutoTokenizer.from_pretrained(tmp_path / "tokenizer"),
            trainer_max_steps=400,  # more samples than one epoch has
            trainer_val_check_interval=100,
            trainer_limit_val_batches=limit,
        )
        built.build()
        train, valid, test = (built.get_dataset(split) for split in ("train", "validation", "test"))
        assert len(train) >= 400 * 8 and len(valid) > 0 and len(test) > 0
        assert train[0]["input_ids"].shape == valid[len(valid) - 1]["input_ids"].shape == (64,)


def test_automodel_uses_no_index_of_other_data(tmp_path: Path) -> None:
    from nemo_automodel.components.datasets.llm.megatron_dataset import MegatronPretraining
    from transformers import AutoTokenizer

    def samples(count: int) -> int:
        data = write_jsonl(tmp_path / "a.jsonl", documents(count))
        prepare(config(tmp_path, data, num_shards=1), tmp_path)
        built = MegatronPretraining(
            paths=str(tmp_path / "out" / "blend.json"),
            seq_length=64,
            tokenizer=AutoTokenizer.from_pretrained(tmp_path / "tokenizer"),
            index_mapping_dir=str(tmp_path / "index"),
            trainer_max_steps=40,
            splits_to_build="train",
        )
        built.build()
        train = built.get_dataset("train")
        return len({tuple(train[i]["input_ids"].tolist()) for i in range(len(train))})

    assert samples(300) > samples(40) > 0  # an index of the 300 documents would lead beyond the 40


def test_the_number_of_workers_changes_no_byte(tmp_path: Path) -> None:
    data = tmp_path / "data"
    for name in "abc":
        write_jsonl(data / f"{name}.jsonl", documents(200, name))
    (data / "c.jsonl.gz").write_bytes(gzip.compress((data / "c.jsonl").read_bytes()))
    outs = []
    for workers in (1, 2, 3):
        out = tmp_path / str(workers)
        prepare(config(tmp_path, data, num_shards=5, workers=workers, output_dir=str(out)), tmp_path)
        outs.append(digests(out))
    assert len(outs[0]) == 5 * 2 + 2 + 2 + 1
    assert outs[0] == outs[1] == outs[2]


def test_every_form_of_the_same_documents_gives_the_same_documents(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq
    import zstandard

    texts = documents(300)
    plain = write_jsonl(tmp_path / "a.jsonl", texts).read_bytes()
    (tmp_path / "b.jsonl.gz").write_bytes(gzip.compress(plain))
    half = plain.index(b"\n", len(plain) // 2) + 1
    frames = [zstandard.compress(part) for part in (plain[:half], plain[half:])]
    (tmp_path / "c.jsonl.zst").write_bytes(b"".join(frames))
    pq.write_table(pa.table({"id": range(300), "text": texts}), tmp_path / "d.parquet", row_group_size=40)
    for i, text in enumerate(texts):
        path = tmp_path / "e" / str(i % 7) / f"{i}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode())
    paths = ["a.jsonl", "b.jsonl.gz", "c.jsonl.zst", "d.parquet", "e"]
    datasets = [{"name": path[0], "path": str(tmp_path / path)} for path in paths]
    prepare(config(tmp_path, "", datasets=datasets, num_shards=4), tmp_path)
    out = output(tmp_path / "out")
    shards = [len(list((out / "train").glob(f"{name}_*.bin"))) for name in "abcde"]
    assert shards[0] == shards[4] == 4 and min(shards) > 1  # each file was shared out among the shards
    for split in ("train", "valid", "test"):
        first = sorted(read(out, split, "a"))
        assert all(sorted(read(out, split, name)) == first for name in "bcde")


def test_a_second_run_does_nothing_and_is_quick(tmp_path: Path) -> None:
    values = config(tmp_path, write_jsonl(tmp_path / "a.jsonl", documents(100)))
    prepare(values, tmp_path)
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "out").rglob("*") if p.is_file()}
    done = prepare(values, tmp_path, env={**os.environ, "PYTHONVERBOSE": "1"})
    # 0.4 s, as long as it imports none of what takes time
    imported = set(re.findall(r"^import '([\w.]+)'", done.stderr, re.MULTILINE))
    assert "data_prep_lib.job" in imported
    assert not imported & {"numpy", "pyarrow", "tokenizers", "torch", "datasets", "fastokens", "gigatoken"}
    assert "nothing to do" in done.stderr and done.stdout.endswith("blend.json\n")
    lock = output(tmp_path / "out") / ".data_prep" / "lock"
    assert {p: p.stat().st_mtime_ns for p in before if p != lock} == {p: t for p, t in before.items() if p != lock}


def test_a_new_weight_is_a_new_blend_of_the_same_shards(tmp_path: Path) -> None:
    values = config(tmp_path, write_jsonl(tmp_path / "a.jsonl", documents(100)), num_shards=1)
    prepare(values, tmp_path)
    first = output(tmp_path / "out")
    before = {p: p.stat().st_mtime_ns for p in first.rglob("*") if p.is_file() and "lock" not in p.name}
    values["datasets"][0]["weight"] = 7
    done = prepare(values, tmp_path)
    second = output(tmp_path / "out")
    assert second.name.startswith(f"{first.name}-") and done.stdout == f"{second}/blend.json\n"
    assert json.loads((tmp_path / "out" / "blend.json").read_text())["train"] == ["7", f"{first}/train/web_00000"]
    assert {p: p.stat().st_mtime_ns for p in before} == before
    assert "remove" not in done.stderr  # the first output has the shards
    assert json.loads((second / "record.json").read_text())["sources"][0]["weight"] == 7
    assert "nothing to do" in prepare(values, tmp_path).stderr and output(tmp_path / "out") == second
    values["datasets"][0]["weight"] = 1
    assert "nothing to do" in prepare(values, tmp_path).stderr and output(tmp_path / "out") == first


@pytest.mark.parametrize("form", ["megatron", "nanogpt"])
def test_a_complete_output_keeps_its_bytes_whatever_is_weighted_or_reordered(form: str, tmp_path: Path) -> None:
    """max_tokens is shared out by weight, and nanoGPT files mix the datasets in their order: other shards."""
    paths = {name: write_jsonl(tmp_path / f"{name}.jsonl", documents(100, name)) for name in ("a", "b")}
    datasets = [{"name": name, "path": str(path), "weight": 1} for name, path in paths.items()]
    values = config(tmp_path, "", datasets=datasets, max_tokens=4000, format=form, num_shards=1)
    prepare(values, tmp_path)
    first = output(tmp_path / "out")
    before = {p: p.read_bytes() for p in first.rglob("*.bin")}
    seen = {first}
    for other in ([datasets[0] | {"weight": 3}, datasets[1]], datasets[::-1]):
        prepare(values | {"datasets": other}, tmp_path)
        assert output(tmp_path / "out") not in seen
        seen.add(output(tmp_path / "out"))
    assert {p: p.read_bytes() for p in first.rglob("*.bin")} == before


def test_a_sample_moves_nothing_unless_asked(tmp_path: Path) -> None:
    artifact = {"root": str(tmp_path / "art"), "name": "web"}
    values = config(tmp_path, write_jsonl(tmp_path / "a.jsonl", documents(100)), num_shards=None, artifact=artifact)
    prepare(values, tmp_path)
    first, blend = output(tmp_path / "out"), (tmp_path / "out" / "blend.json").read_text()
    done = prepare(values | {"sample": 20}, tmp_path)
    made = Path(done.stdout.strip()).parent
    assert made.parent == tmp_path / "out" and made.name.startswith("sample-") and (made / "record.json").is_file()
    assert "a sample" in done.stderr and "artifact web" not in done.stderr
    assert output(tmp_path / "out") == first and (tmp_path / "out" / "blend.json").read_text() == blend
    assert sorted(p.name for p in (tmp_path / "art" / "web").iterdir()) == ["latest", "v1"]
    done = prepare(values | {"sample": 20, "publish": True}, tmp_path)
    assert output(tmp_path / "out") == made and "artifact web:v2" in done.stderr


def test_the_first_sample_gives_no_names(tmp_path: Path) -> None:
    values = config(tmp_path, write_jsonl(tmp_path / "a.jsonl", documents(100)), num_shards=None, sample=20)
    prepare(values, tmp_path)
    assert not {"latest", "blend.json"} & {p.name for p in (tmp_path / "out").iterdir()}


def test_more_data_moves_no_document_to_another_split(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "data" / "b.jsonl", documents(150))
    prepare(config(tmp_path, tmp_path / "data"), tmp_path)
    write_jsonl(tmp_path / "data" / "a.jsonl", documents(150, "more"))
    prepare(config(tmp_path, tmp_path / "data", output_dir=str(tmp_path / "more"), num_shards=7), tmp_path)
    for split in ("train", "valid", "test"):
        before, after = (read(output(tmp_path / name), split) for name in ("out", "more"))
        assert before and all(ids in after for ids in before)
        assert len(after) > len(before)


def test_bos_eos_length_and_sample(tmp_path: Path) -> None:
    data = write_jsonl(tmp_path / "a.jsonl", ["x", *documents(50)])
    options = {"add_bos": True, "max_doc_tokens": 12, "min_doc_chars": 3, "sample": 20, "num_shards": None}
    options["publish"] = True
    prepare(config(tmp_path, data, splits={"train": 1.0}, **options), tmp_path)
    out = output(tmp_path / "out")
    found = read(out, "train")
    whole = encode(tmp_path / "tokenizer", documents(50))[:19]  # "x" is one of the 20 rows
    eos = whole[0][-1]
    assert found == [[eos, *ids[:-1][:10], eos] for ids in whole]
    assert set(json.loads((out / "blend.json").read_text())) == {"train"}
    assert json.loads((out / "record.json").read_text())["short"] == 1


def test_a_large_vocabulary_is_int32(tmp_path: Path) -> None:
    tokenizer = make_tokenizer(tmp_path / "tokenizer")
    raw = json.loads((tokenizer / "tokenizer.json").read_text())
    raw["added_tokens"].append({**raw["added_tokens"][0], "id": 65_600, "content": "<|far|>"})
    raw["model"]["vocab"]["<|far|>"] = 65_600
    (tokenizer / "tokenizer.json").write_text(json.dumps(raw))
    data = write_jsonl(tmp_path / "a.jsonl", ["before <|far|> after"] * 3)
    prepare(config(tmp_path, data, num_shards=1, splits={"train": 1.0}), tmp_path)
    assert 65_600 in read(output(tmp_path / "out"), "train")[0]


def test_blend_file_and_text_field(tmp_path: Path) -> None:
    data = write_jsonl(tmp_path / "a.jsonl", documents(40), field="content")
    blend = tmp_path / "data_blend_raw.json"
    blend.write_text(json.dumps({"datasets": [{"name": "web", "path": str(data), "text_field": "content"}]}))
    prepare(config(tmp_path, data, datasets=None, blend=str(blend)), tmp_path)
    assert (tmp_path / "out" / "blend.json").exists() and not leftovers(tmp_path)


@pytest.mark.parametrize("name", ["default", "tiny", "nanogpt", "fineweb"])
def test_shipped_configs_are_valid(name: str, tmp_path: Path) -> None:
    from data_prep_lib.config import load_config

    text = (REPOSITORY / "configs" / "data-prep" / f"{name}.yaml").read_text()
    path = tmp_path / "config.yaml"
    path.write_text(text.replace("${run.data_dir}", str(tmp_path)).replace("${run.artifacts.root}", "/a"))
    assert load_config(path).output_dir.is_relative_to(tmp_path)
    assert "${run" not in path.read_text().replace("# wandb", "").replace("${run.wandb.project}", "")


def test_the_metadata_block_says_what_the_launcher_reads() -> None:
    tomllib: Any = pytest.importorskip("tomllib" if sys.version_info >= (3, 11) else "tomli")
    head = RECIPE.read_text().split("# ///\n")[0].splitlines()
    block = tomllib.loads("\n".join(line[2:] for line in head[1:]))
    spec = block["tool"]["runspec"]
    assert spec["name"] == "data-prep" and spec["run"]["launch"] == "python"
    assert (REPOSITORY / spec["config"]["dir"] / f"{spec['config']['default']}.yaml").exists()


def test_it_imports_no_launcher_and_no_torch(tmp_path: Path) -> None:
    values = config(tmp_path, write_jsonl(tmp_path / "a.jsonl", documents(20)), workers=1, num_shards=1)
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(values))
    code = (
        f"import sys; sys.path.insert(0, {str(RECIPE.parent)!r})\n"
        "from data_prep_lib import pool, preflight, report, parquet, job, config, worker\n"
        f"from pathlib import Path; job.plan(config.load_config(Path({str(path)!r})))\n"
        "bad = {'torch', 'transformers', 'nemo_automodel', 'automodel_launch'} & set(sys.modules); assert not bad, bad"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=LIMIT_S)
