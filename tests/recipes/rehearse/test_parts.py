"""The parts that need no AutoModel: requests, versions, overrides, messages, places, batches, indexes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy
import pytest
from rehearse_lib import (
    culprit,
    environment,
    failure,
    guard,
    leaves,
    megatron_index,
    outcomes,
    places,
    removal,
    request,
    versions,
)
from rehearse_lib.orders import Attempt
from rehearse_lib.parent import refusal_of


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "not JSON"),
        ("[]", "not a JSON object"),
        ("{}", "schema must be 1"),
        ('{"schema": 1}', "config is missing"),
        ('{"schema": 1, "config": {}, "wordl_size": 2}', "unknown field 'wordl_size'"),
        ('{"schema": 1, "config": {}, "world_size": "2"}', "world_size must be of type int"),
        ('{"schema": 1, "config": {}, "world_size": true}', "world_size must be of type int"),
        ('{"schema": 1, "config": {}, "seconds": 0}', "seconds must be above 0"),
        ('{"schema": 1, "config": {}, "overrides": [1]}', "overrides must hold strings only"),
        ('{"schema": 1, "config": {}, "env": {"A": 1}}', "env must hold strings only"),
    ],
)
def test_a_request_that_cannot_be_understood_says_why(content: str, words: str) -> None:
    with pytest.raises(request.BadRequest, match=words):
        request.read(content)


class _Node(dict[str, Any]):
    """What is asked of AutoModel's ConfigNode: keys with dots, and the names on top."""

    def to_dict(self) -> dict[str, Any]:
        return {key.partition(".")[0]: None for key in self}


@pytest.mark.parametrize("key", ["dataset", "validation_dataset", "validation_dataset_code"])
def test_an_index_is_nowhere_among_the_kernels_files(key: str) -> None:
    places.check(_Node({f"{key}.index_mapping_dir": "/tmp/index"}), True)
    with pytest.raises(failure.Fault, match=f"{key}.index_mapping_dir is /sys/index"):
        places.check(_Node({f"{key}.index_mapping_dir": "/sys/index"}), True)


def test_a_request_is_read_as_it_is_sent() -> None:
    asked = request.Request(config={"a": 1}, overrides=("a=1",), secrets=("TOKEN",), seconds=3)
    assert request.read(json.dumps(asked.as_json())) == asked


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({}, None),
        ({"torch": "2.13.1+cu128"}, None),
        ({"torch": "2.14.0"}, "torch is 2.14.0"),
        ({"torch": "2.1"}, "torch is 2.1,"),
        ({"nemo-automodel": "0.7.1"}, "tested with 0.7.0"),
        ({"transformers": None}, "transformers is not installed"),
    ],
)
def test_other_versions_are_not_guessed_at(changed: dict[str, str | None], words: str | None) -> None:
    found = {"nemo-automodel": "0.7.0", "torch": "2.13.0", "transformers": "5.18.0", **changed}
    because = versions.why_not({name: version for name, version in found.items() if version is not None})
    assert because is None if words is None else words in str(because)


BASE = {"optimizer": {"lr": 1, "eps": 2}, "model": {"n": 8}, "data": {"n": 8}}


def _named(overrides: list[str], config: Mapping[str, Any], fails: Any) -> tuple[dict[str, Any], int]:
    refusal: dict[str, Any] = {
        "stage": "setup",
        "type": "E",
        "file": "f",
        "line": 1,
        "key": None,
        "text": "",
        "source": "",
    }
    tries = []

    def tried(config: Mapping[str, Any], until: str) -> tuple[str, ...] | None:
        tries.append(config)
        how = fails(config)
        return (how,) if isinstance(how, str) else culprit.signature(refusal) if how else None

    culprit.name(refusal, request.Request(config=dict(config), base=BASE, overrides=tuple(overrides)), tried)
    return refusal, len(tries)


def test_the_override_is_found_by_halves() -> None:
    overrides = [f"+k{number}=1" for number in range(16)]
    config = {**BASE, **{f"k{number}": 1 for number in range(16)}}
    refusal, tries = _named(overrides, config, lambda config: "k11" in config)
    assert (refusal["key"], refusal["override"], refusal["key_by"]) == ("k11", "+k11=1", "override")
    assert tries <= 7


def test_a_key_that_is_taken_away_can_be_to_blame() -> None:
    config = {**BASE, "optimizer": {"lr": 1}, "seed": 3}
    refusal, _ = _named(["seed=3", "~optimizer.eps"], config, lambda config: "eps" not in config["optimizer"])
    assert refusal["override"] == "~optimizer.eps"


def test_a_value_that_is_taken_by_reference_goes_with_its_override() -> None:
    config = {**BASE, "model": {"n": 9}, "data": {"n": 9}, "seed": 3}
    refusal, _ = _named(["model.n=9", "seed=3"], config, lambda config: config["data"]["n"] == 9)
    assert refusal["override"] == "model.n=9"


def test_a_failure_of_the_base_is_no_overrides() -> None:
    refusal, tries = _named(["seed=3"], {**BASE, "seed": 3}, lambda config: True)
    assert (refusal.get("override"), tries) == (None, 1)


def test_an_override_that_only_lets_the_job_come_so_far_is_not_blamed() -> None:
    """The base fails otherwise: with model.n = 8 at another line."""
    config = {**BASE, "model": {"n": 9}, "seed": 3}

    def fails(config: Mapping[str, Any]) -> Any:
        return "elsewhere" if config["model"]["n"] == 8 else config["optimizer"]["eps"] == 2

    refusal, _ = _named(["seed=3", "model.n=9"], config, fails)
    assert (refusal.get("override"), refusal["key"]) == (None, None)


def test_behind_one_that_makes_way_the_one_to_blame_is_named() -> None:
    """seed=3 is wrong from the start, and seen only once model.n is 9."""
    config = {**BASE, "seed": 3, "model": {"n": 9}}
    refusal, _ = _named(
        ["seed=3", "model.n=9"],
        config,
        lambda config: "elsewhere" if config["model"]["n"] == 8 and "seed" in config else "seed" in config,
    )
    assert refusal["override"] == "seed=3"


def _removed(config: Mapping[str, Any], key: str | None, fails: Any, spent: Any = lambda: 0.0) -> dict[str, Any]:
    refusal: dict[str, Any] = {"stage": "setup", "key": key, "key_by": "section", "override": None}
    removal.name(refusal, config, lambda config, until: ("it",) if fails(config) else None, spent)
    return refusal


def test_the_key_without_which_a_failure_is_gone() -> None:
    config = {"optimizer": {"lr": 1, "betas": [0.9]}, "peft": {"dim": 0, "_target_": "x"}}
    found = _removed(config, "optimizer", lambda config: "betas" in config["optimizer"])
    assert (found["key"], found["key_by"]) == ("optimizer.betas", "removal")
    found = _removed(config, "optimizer", lambda config: "peft" in config)
    assert (found["key"], found["key_by"]) == ("peft", "removal")
    assert _removed(config, None, lambda config: "peft" in config)["key"] == "peft"


def test_of_two_keys_that_do_not_fit_together_none_is_named() -> None:
    config = {"model": {"heads": 3, "width": 8}, "seed": 1}
    found = _removed(config, "model", lambda config: {"heads", "width"} <= config.get("model", {}).keys())
    assert (found["key"], found["key_by"]) == ("model", "section")


def test_a_better_name_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(removal, "SECONDS", 6.0)
    tried: list[str] = []

    def fails(config: Mapping[str, Any]) -> bool:
        tried.append("")
        return "f" in config["model"]

    config = {"model": dict.fromkeys("abcdef", 1)}
    found = _removed(config, "model", fails, lambda: 4.0 * len(tried))
    assert (found["key"], len(tried)) == ("model", 2)


def test_a_key_that_is_known_is_left() -> None:
    assert _removed({"a": {"b": 1}}, "a.b", lambda config: 1 / 0)["key"] == "a.b"


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("Custom parallel plan 'no.such.plan' is not valid", "distributed.tp_plan"),
        ("Context parallelism (cp_size=2) requires TE", "distributed.cp_size"),
        ("re-run with --distributed.cp_size=1", "distributed.cp_size"),
        ("`seq_length` is odd", None),  # two have that name
        ("plan 'x' is bad", None),
        ("cp_size=3 is too much", None),
    ],
)
def test_what_a_message_spells_out(text: str, key: str | None) -> None:
    config = {
        "distributed": {"cp_size": 2, "tp_plan": "no.such.plan"},
        "dataset": {"seq_length": 8},
        "validation_dataset": {"seq_length": 8},
        "wandb": {"project": "x"},
    }
    assert leaves.spelt_out(config, text) == key


def _refusal(death: Attempt) -> tuple[dict[str, Any] | None, list[str]]:
    partials: list[dict[str, Any]] = []
    return refusal_of(death, 0, 8 << 30, partials), [entry["reason"] for entry in partials]


def test_a_death_by_memory_or_time_is_a_note_and_another_one_a_refusal() -> None:
    assert _refusal(Attempt("setup", signal=9)) == (None, ["memory"])
    assert _refusal(Attempt("setup", signal=14)) == (None, ["time"])
    refusal, notes = _refusal(Attempt("step", signal=6))
    assert refusal is not None and (refusal["type"], refusal["stage"], notes) == ("SIGABRT", "step", [])


@pytest.mark.parametrize(
    ("error", "reason", "fields"),
    [
        (ValueError("Invalid learning rate: -1"), None, {}),
        (ImportError("wandb is not installed"), None, {}),
        (ImportError("wandb is not installed"), "package", {"job_python": False}),
        (RuntimeError("Failed to import Dion. Please install Dion."), "package", {"job_python": False}),
        (ImportError("libcuda.so.1: cannot open shared object file"), "package", {}),
        (AssertionError("Torch not compiled with CUDA enabled"), "gpu", {"cuda": True}),
        (AssertionError("Torch not compiled with CUDA enabled"), None, {}),
        (ValueError("FP8 is only supported on SM89 or later GPUs (H100+)"), "gpu", {"cuda": True}),
        (OSError("We couldn't connect to 'https://huggingface.co' to load the files"), "hub", {}),
        (AssertionError("NYI: aten._pin_memory.default"), "not-implemented", {}),
        (MemoryError(), "memory", {}),
        (ValueError("it requires the TE attention backend (backend.attn='te')"), None, {"cuda": True}),
        (ValueError("it requires the TE attention backend"), "package", {"cuda": True, "job_python": False}),
        (ValueError("THD model input must be [T, H]"), "package", {"cuda": True, "job_python": False}),
        (ImportError("Module 'torch.optim' loaded, but cannot resolve attribute 'AdamX'"), None, {"job_python": False}),
        (ImportError("Module 'mine' loaded, but cannot resolve attribute 'X'"), "package", {"job_python": False}),
        (ValueError("HF_HUB_OFFLINE_X is no key of env"), None, {}),
        (ValueError("env has HF_HUB_OFFLINE=1 twice"), None, {}),
        (FileNotFoundError(2, "No such file", "/mnt/https://huggingface.co/x.bin"), None, {}),
        (TypeError("Wandb() got an unexpected keyword argument 'cuda'"), None, {"cuda": True}),
        (ValueError("unknown project 'cuda'"), None, {"cuda": True}),
        (KeyError("CUDA error"), None, {"cuda": True}),
        (ValueError("a batch of 9 runs out of memory"), None, {}),
        (RuntimeError("CUDA out of memory"), "memory", {}),
        (ValueError("Kenyian: an unknown language"), None, {}),
        (ValueError("model 'meta tensor' is unknown"), None, {}),
        (AssertionError("params must be on supported devices: ['cuda', 'xpu']"), "gpu", {"cuda": True}),
        (RuntimeError("Attempting it, but torch.cuda.is_available() is False"), "gpu", {"cuda": True}),
        (OSError("x is not a local folder and is not a valid model identifier"), "hub", {}),
        (guard.Forbidden("a rehearsal uses no network"), "forbidden", {}),
    ],
)
def test_a_limit_of_rehearsing_is_told_from_a_fault(
    error: Exception, reason: str | None, fields: dict[str, bool]
) -> None:
    limit = outcomes.limit_of(error, **{"job_python": True, "cuda": False, **fields}, config={})
    assert (limit["reason"] if limit else None) == reason


def test_a_package_that_was_only_looked_for_hides_no_limit() -> None:
    error = RuntimeError("this needs a GPU")
    error.__cause__ = ImportError("No module named 'fast_kernels'")
    limit = outcomes.limit_of(error, job_python=True, cuda=True, config={})
    assert limit is not None and limit["reason"] == "gpu"


def test_numbers_in_eight_bits_are_a_limit_and_a_wrong_recipe_for_them_is_none() -> None:
    def reason(text: str) -> str | None:
        limit = outcomes.limit_of(ValueError(text), job_python=True, cuda=True, config={"fp8": {"enabled": True}})
        return limit["reason"] if limit else None

    assert reason("float8 dtype is not supported on this machine") == "fp8"
    assert reason("unknown fp8 recipe 'rowwize'") is None


def test_variables_that_only_the_job_has() -> None:
    config = {"a": "${oc.env:KNOWN}", "b": ["${oc.env:JOB}/x", "${BARE}"], "c": "${oc.env:D,1}", "d": "$ALONE"}
    assert environment.unknown_variables(config, {"KNOWN": ""}) == {"JOB", "BARE", "ALONE"}


def test_the_environment_of_a_worker_has_no_secrets(tmp_path: Path) -> None:
    given = {"PATH": "/bin", "HF_TOKEN": "secret", "AWS_SECRET_ACCESS_KEY": "secret", "http_proxy": "u:secret@h"}
    made = environment.of_worker(given, tmp_path)
    assert made["PATH"] == "/bin" and "secret" not in str(made)


def test_the_leaf_that_a_message_speaks_of() -> None:
    config = {"optimizer": {"lr": -0.001, "betas": [0.9, 0.95], "eps": 1e-8}, "seed": 1}
    assert leaves.leaf_below(config, "optimizer", "Invalid learning rate: -0.001", "") == "optimizer.lr"
    assert leaves.leaf_below(config, "optimizer", "division by zero", "x = betas[0] / 0") == "optimizer.betas"
    assert leaves.leaf_below(config, "optimizer", "no idea", "") is None


def test_rows_of_samples_are_where_the_tokens_are() -> None:
    lengths = numpy.array([5, 1, 7, 20, 3], dtype=numpy.int32)
    rows = megatron_index.sample_rows(lengths, 4, 1, 100)
    text = [(document, offset) for document, length in enumerate(lengths) for offset in range(length)]
    assert len(rows) == (len(text) - 1) // 4 + 1
    assert [tuple(row) for row in rows] == [text[4 * sample] for sample in range(len(rows))]


def test_a_blend_has_each_data_set_as_often_as_its_weight_says() -> None:
    size = 5000
    chosen, sample = numpy.zeros(size, numpy.int16), numpy.zeros(size, numpy.int64)
    megatron_index.Helper.build_blending_indices(chosen, sample, [0.25, 0.75], 2, size, False)
    assert [int((chosen == number).sum()) for number in (0, 1)] == [1250, 3750]
    for number in (0, 1):
        assert sorted(sample[chosen == number]) == list(range(int((chosen == number).sum())))
    assert set(chosen[:8].tolist()) == {0, 1}


class _Config:
    def __init__(self, **values: Any) -> None:
        self.__dict__.update(values)


def test_what_cannot_be_seen(tmp_path: Path) -> None:
    from rehearse_lib import synthetic  # which imports torch

    (tmp_path / "a.idx").write_text("")
    assert synthetic.unseen(_Config(paths=[str(tmp_path / "a")]), True) is None
    assert synthetic.unseen(_Config(paths=["0.5", str(tmp_path / "no")]), True) is None  # missing: that is a fault
    assert synthetic.unseen(_Config(paths=["0.5", str(tmp_path / "no")]), False) == str(tmp_path / "no")
    assert synthetic.unseen(_Config(paths={"train": ["/lustre/x"]}), True) == "/lustre/x"
    assert synthetic.unseen(_Config(file_pattern="s3://bucket/*.bin"), True) == "s3://bucket/*.bin"
    (tmp_path / "blend.json").write_text('{"train": ["1.0", "/lustre/y"]}')
    assert synthetic.unseen(_Config(paths=str(tmp_path / "blend.json")), True) == "/lustre/y"


def test_a_number_that_a_message_has_for_another_reason_names_no_key() -> None:
    config = {"distributed": {"cp_size": 2, "pp_size": 8}}
    assert leaves.leaf_below(config, "distributed", "8 is not divisible by 2 x 3", "") is None


def test_a_key_in_quotes_is_named_whatever_section_was_at_work() -> None:
    config = {"step_scheduler": {"global_batch_size": 8}, "dataloader": {"num_workers": 2}, "dataset": {"paths": "x"}}
    text = "`global_batch_size` (8) is not divisible by `micro_batch_size (2) x data_parallel_size (8)`"
    assert failure.key_of([], text, "", "setup", config) == "step_scheduler.global_batch_size"
    assert failure.key_of([], "it failed", "x = num_workers", "setup", config) is None


def test_the_attention_that_a_config_asks_for_is_its_own() -> None:
    config = {"model": {"backend": {"attn": "sdpa"}}}
    error = ValueError("it requires the TE attention backend")
    assert outcomes.limit_of(error, job_python=False, cuda=True, config=config) is None
