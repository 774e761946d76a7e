"""Data in phases: which steps each has, which samples it gives, and a run that is killed in the middle of one."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.recipes.pretrain_fixtures import ROOT, SMALL, start, write_config, write_megatron, write_tokenizer

sys.path.insert(0, str(ROOT / "recipes"))

from pretrain_lib import data_phases
from pretrain_lib.data_phases import PhaseError

LENGTH = 32
Build = Callable[[dict[str, Any], int], list[int]]


def _read(*phases: dict[str, Any], steps: Any = 100, tokens: int = 1000) -> list[tuple[int, int]]:
    named = {f"p{number}": {"paths": "/d", **phase} for number, phase in enumerate(phases)}
    return [(phase.first, phase.last) for phase in data_phases.read(named, steps, tokens)]


@pytest.mark.parametrize(
    "length", [{"tokens": "90K"}, {"tokens": 90_000}, {"tokens": "9e4"}, {"steps": 90}, {"share": 0.9}]
)
def test_a_length_has_three_forms_and_the_last_phase_takes_the_rest(length: dict[str, Any]) -> None:
    assert _read(length, {}) == [(0, 89), (90, 99)]


def test_boundaries_are_the_nearest_whole_steps_and_roundings_do_not_add_up() -> None:
    third = {"tokens": 33_400}
    assert _read(third, third, {}) == [(0, 32), (33, 66), (67, 99)]
    assert _read({"share": 0.005}, {"steps": 99}, {}, steps=200) == [(0, 0), (1, 99), (100, 199)]


@pytest.mark.parametrize(
    ("phases", "key", "said"),
    [
        ([], "dataset.phases", "must be a mapping"),
        ([{"steps": 50}, {"steps": 40}], "dataset.phases", "step_scheduler.max_steps=90"),
        ([{"steps": 100}, {"steps": 10}], "dataset.phases", "leave out p1"),
        ([{"steps": 100}, {}], "dataset.phases.p1", "none is left"),
        ([{"tokens": 499}, {}], "dataset.phases.p0", "half a step"),
        ([{}, {}], "dataset.phases.p0", "only the last"),
        ([{"steps": 5, "tokens": 5000}, {}], "dataset.phases.p0", "steps"),
        ([{"steps": 0.5}, {}], "dataset.phases.p0.steps", "whole number"),
        ([{"share": 1.5}, {}], "dataset.phases.p0.share", "more than the run"),
        ([{"tokens": "many"}, {}], "dataset.phases.p0.tokens", "900M"),
        ([{"tokens": True}, {}], "dataset.phases.p0.tokens", "900M"),
        ([{"tokens": -5}, {}], "dataset.phases.p0.tokens", "above 0"),
        ([{"token": 5}, {}], "dataset.phases.p0.token", "known: paths"),
        ([{"steps": 5, "paths": None}, {}], "dataset.phases.p0", "names no data"),
    ],
)
def test_what_cannot_be_used_is_refused_where_it_stands(phases: list[dict[str, Any]], key: str, said: str) -> None:
    with pytest.raises(PhaseError) as refused:
        _read(*phases)
    assert refused.value.key == key
    assert said in str(refused.value)


@pytest.mark.parametrize("steps", [None, 0, "100", True])
def test_phases_need_the_runs_length(steps: Any) -> None:
    with pytest.raises(PhaseError, match="max_steps=STEPS"):
        _read({"steps": 5}, {}, steps=steps)


@pytest.fixture(scope="module")
def prefixes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Documents as long as a sample, of one id each, by which a sample is known: 0.. in A, 100.. in B, 200.. in C."""
    directory = tmp_path_factory.mktemp("prefixes")
    write_tokenizer(directory / "tokenizer")
    for name, first, number in (("A", 0, 61), ("B", 100, 41), ("C", 200, 41)):
        write_megatron(directory / name, [[first + at] * LENGTH for at in range(number)])
    return {name: str(directory / name) for name in ("A", "B", "C", "tokenizer")}


@pytest.fixture(scope="module")
def build(prefixes: dict[str, str]) -> Build:
    """The ids of all samples of a run with these phases, of 4 samples a step, as AutoModel builds them."""
    from nemo_automodel.components.datasets.llm import megatron_dataset
    from nemo_automodel.components.datasets.loader import DatasetBuildSchedule
    from pretrain_lib import data_helper, phased_data
    from transformers import AutoTokenizer

    assert megatron_dataset
    data_helper.install()
    tokenizer = AutoTokenizer.from_pretrained(prefixes["tokenizer"])

    def samples(phases: dict[str, Any], steps: int) -> list[int]:
        config = phased_data.PhasedMegatronConfig(phases=phases, seq_length=LENGTH, splits_to_build="train")
        dataset = config.build(tokenizer=tokenizer, training_schedule=DatasetBuildSchedule(2, 4, steps, None))
        assert len(dataset) == 4 * steps
        return [int(dataset[at]["input_ids"][0]) for at in range(len(dataset))]

    return samples


def _train(*blend: Any) -> dict[str, Any]:
    return {"paths": {"train": [str(one) for one in blend]}}


def test_a_phase_goes_on_in_each_prefix_where_the_one_before_has_stopped(
    build: Build, prefixes: dict[str, str]
) -> None:
    a, b, c = (prefixes[name] for name in "ABC")
    web, anneal = {"steps": 8, **_train(0.75, a, 0.25, b)}, _train(0.5, a, 0.5, c)
    begun = build({"web": web, "anneal": anneal}, 14)
    first, second = begun[:32], begun[32:]
    assert (sum(one < 100 for one in first), sum(100 <= one < 200 for one in first)) == (24, 8)
    assert (sum(one < 100 for one in second), sum(one >= 200 for one in second)) == (12, 12)
    assert len(set(begun)) == len(begun), "a sample came twice"

    other = build({"web": web, "code": {"steps": 4, **_train(1, c)}, "more": _train(a)}, 30)
    assert other[:32] == first, "what was trained depends on what is still to come"
    of_a = [one for one in other if one < 100]
    assert len(set(of_a[:60])) == 60, "the second epoch of A begins before the first is over"
    assert len(of_a) > 60
    assert of_a[60:] != of_a[: len(of_a) - 60], "both epochs have one order"

    longer = build({"web": {"steps": 10, **_train(0.75, a, 0.25, b)}, "anneal": anneal}, 14)
    assert longer[:32] == first


def test_a_prefix_that_is_named_twice_is_one(build: Build, prefixes: dict[str, str]) -> None:
    a = prefixes["A"]
    found = build({"one": {"steps": 5, **_train(1, a, 1, a)}, "two": _train(a)}, 10)
    assert len(set(found)) == len(found) == 40


def _phased(data_dir: Path, directory: Path, changes: dict[str, Any]) -> Path:
    """configs/pretrain/tiny.yaml, small, with three phases that change in steps 3 and 7."""
    config = write_config("tiny", directory, data_dir, {**SMALL, **changes})
    content = yaml.safe_load(config.read_text())
    blend, valid = content["dataset"].pop("paths"), str(data_dir / "tiny" / "megatron" / "valid")
    mixed = {"train": ["0.5", str(data_dir / "tiny" / "megatron" / "train"), "0.5", valid]}
    tokens = 4 * content["step_scheduler"]["global_batch_size"] * content["dataset"]["seq_length"]
    content["dataset"]["phases"] = {
        "web": {"steps": 3, "paths": blend}, "mixed": {"tokens": tokens, "paths": mixed}, "end": {"paths": [valid]}
    }  # fmt: skip
    config.write_text(yaml.safe_dump(content, sort_keys=False))
    return config


@pytest.mark.train
@pytest.mark.slow
def test_a_run_that_is_killed_in_the_middle_of_a_phase_goes_on_as_one_that_was_not(
    tmp_path: Path, data_dir: Path
) -> None:
    from tests.recipes.test_pretrain_runs import DISTURBED

    whole = start(_phased(data_dir, tmp_path / "whole", {}), processes=2)
    assert whole.code == 0, whole.output
    assert "data phases: web: steps 0 to 2, mixed: steps 3 to 6, end: steps 7 to 11" in whole.output
    (tmp_path / "disturbed_recipe.py").write_text(DISTURBED)
    config = _phased(data_dir, tmp_path / "killed", {"_step_recipe": "disturbed_recipe:Disturbed"})
    surroundings = {"PYTHONPATH": str(tmp_path), "DISTURB_WITH": "SIGKILL"}
    for step in (5, 9):  # in the second phase before any checkpoint of it, and behind one of it in the third
        killed = start(config, processes=2, DISTURB_AT=str(step), **surroundings)
        assert killed.code != 0
    continued = start(config, processes=2, DISTURB_AT="-1", **surroundings)
    assert continued.code == 0, continued.output
    assert continued.losses() == whole.losses()


def test_phases_that_cannot_be_used_are_a_config_error(tmp_path: Path, data_dir: Path, build: Build) -> None:
    from pretrain_lib.config import ConfigError, load_config
    from pretrain_lib.phased_data import PhasedMegatronConfig

    config = _phased(data_dir, tmp_path / "run", {})
    assert load_config(str(config)).dataset._target_ is PhasedMegatronConfig
    config.write_text(config.read_text().replace("max_steps: 12", "max_steps: 5"))
    with pytest.raises(ConfigError, match=r"^dataset\.phases\.end: .* none is left"):
        load_config(str(config))
