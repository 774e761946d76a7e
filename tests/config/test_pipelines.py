"""A pipeline's file: what it takes, in which order its steps come, and what is said of a wrong one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from automodel_launch.config import pipelines
from automodel_launch.errors import ConfigError, UsageError

Write = Callable[[str, str], Path]

GOOD = """\
steps:
  check:
    recipe: export-check
    needs: [train]
    overrides: {model: "${steps.train.hf}", +note: "of ${steps.data.path}"}
  train:
    recipe: pretrain
    config: mine/small.yaml
    overrides:
      dataset.paths: ["${steps.data.blend}", 1]
      ~scheduler: null
  data: {recipe: data-prep, config: tiny, profile: cpu, name: words}
"""


def test_steps_stand_behind_those_that_they_need(write: Write) -> None:
    """Whether they say so in `needs`, or take something of them."""
    path = write("p.yaml", GOOD)
    data, train, check = pipelines.read(path, ["train.optimizer.lr=1e-3", "data.+sample=3".replace("data.+", "+data.")])
    assert [step.name for step in (data, train, check)] == ["data", "train", "check"]
    assert (train.needs, check.needs) == (("data",), ("train", "data"))
    assert (data.profile, data.run_name, train.config) == ("cpu", "words", str(path.parent / "mine/small.yaml"))
    assert [(one.action, one.key) for one in train.overrides] == [
        ("set", "dataset.paths"),
        ("remove", "scheduler"),
        ("set", "optimizer.lr"),
    ]
    assert (data.overrides[0].action, data.overrides[0].value) == ("add", 3)
    promises = {"data": {"blend": "/d/b.json", "path": "/d"}, "train": {"hf": "/r/hf"}}
    assert [one.value for one in pipelines.filled(train, promises)] == [["/d/b.json", 1], None, 0.001]
    assert [one.value for one in pipelines.filled(check, promises)] == ["/r/hf", "of /d"]
    with pytest.raises(ConfigError, match=r"p.yaml:2: step check: model: step train promises no 'hf'"):
        pipelines.filled(check, {**promises, "train": {"checkpoints": "/r/c"}})


def test_an_override_takes_the_place_of_the_files(write: Write) -> None:
    """And with it, of what it needs."""
    path = write("p.yaml", "steps: {a: {recipe: x}, b: {recipe: x, overrides: {value: 1}}}")
    steps = pipelines.read(path, ["a.value=${steps.b.run_dir}", "b.value=2"])
    assert [(step.name, step.needs) for step in steps] == [("b", ()), ("a", ("b",))]
    assert steps[0].overrides[0].value == 2


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "at least one step"),
        ("steps: []", "at least one step"),
        ("steps: {}", "at least one step"),
        ("step: {}", "'step' is no key of a pipeline. Did you mean 'steps'?"),
        ("steps: {a: x}", "step a: a mapping with the key recipe, not 'x'"),
        ("steps: {a: {}}", "step a: recipe is missing"),
        ("steps: {a: {recipe: 3}}", "step a: recipe: a string, not 3"),
        ("steps: {a: {recipe: x, need: b}}", "'need' is no key of a step. Did you mean 'needs'?"),
        ("steps: {a: {recipe: x, needs: b}}", "step a: there is no step 'b'"),
        ("steps: {a: {recipe: x, needs: {b: 1}}}", "step a: needs: b: 1 is neither 'all' nor 'any'"),
        ("steps: {a: {recipe: x, needs: 3}}", "step a: needs: the name of a step"),
        ("steps: {a: {recipe: x, needs: {b: any}}, b: {recipe: x}}", "step b is no sweep, so it has no points"),
        ("steps: {a: {recipe: x, sweep: {grid: {k: ['${steps.b.path}']}}}}", "step a: there is no step 'b'"),
        ("steps: {a: {recipe: x, overrides: {k: '${steps.b.path}'}}}", "step a: there is no step 'b'"),
        ("steps: {a: {recipe: x, overrides: {k: '${steps.b}'}}}", "is no reference to a step"),
        ("steps: {a: {recipe: x, overrides: {k: '${steps'}}}", "is no reference to a step"),
        ("steps: {a: {recipe: x, overrides: 3}}", "step a: overrides: a mapping"),
        ("steps: {a: {recipe: x, overrides: [k]}}", "step a: 'k' is not understood"),
        ("steps: {a: {recipe: x, overrides: {'a b': 1}}}", "is not a key"),
        ("steps: {a b: {recipe: x}}", "a step's name begins with a letter"),
        ("steps: {1: {recipe: x}}", "a step's name begins with a letter"),
        ("steps: {a: {recipe: x, needs: a}}", "in a circle: a -> a"),
        ("steps: {a: {recipe: x, needs: b}, b: {recipe: x, needs: c}, c: {recipe: x, needs: b}}", "b -> c -> b"),
        ("steps: {a: {recipe: x}, a: {recipe: y}}", "a"),
    ],
)
def test_what_is_no_pipeline_is_said_with_its_step(write: Write, text: str, said: str) -> None:
    path = write("p.yaml", text)
    with pytest.raises(ConfigError) as error:
        pipelines.read(path)
    assert said in error.value.message
    assert "p.yaml" in error.value.message


@pytest.mark.parametrize("text", ["b.k=1", "k=1", "~b.k", "+b.k=1", "", "a"])
def test_an_override_names_a_step(write: Write, text: str) -> None:
    said = "'a': which key of that step is to be set" if text == "a" else "there is no step"
    with pytest.raises(UsageError, match=said):
        pipelines.read(write("p.yaml", "steps: {a: {recipe: x}}"), [text])


def test_a_file_is_found_by_name_or_path(write: Write, tmp_path: Path) -> None:
    path = write("p.yaml", GOOD)
    assert pipelines.find(tmp_path, "p") == path == pipelines.find(tmp_path / "x", str(path))
    for wanted, said in (("pp", "Did you mean 'p'"), (f"{tmp_path}/", "is a directory"), ("./q.yaml", "no such file")):
        with pytest.raises(ConfigError, match=said):
            pipelines.find(tmp_path, wanted)
