"""The Plan: precedence, names, hashes, and the same bytes for the same input."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from automodel_launch import executors
from automodel_launch.errors import ProfileError
from automodel_launch.jobs import records
from automodel_launch.launch import planning
from automodel_launch.plan.describe import in_epochs
from automodel_launch.plan.plan import Plan
from tests.conftest import ROOT
from tests.workbench import Bench, make_bench, refused


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return make_bench(tmp_path)


# --- precedence: recipe < config's run.env < profile (parents first) < override

KINDS: list[tuple[str, list[Any]]] = [
    ("nodes", [1, 1, 1, 1, 1]),
    ("gpus_per_node", [1, 2, 3, 4, 5]),
    ("nproc_per_node", [1, 2, 3, 4, "auto"]),
    ("python", ["a", "b", "c", "d", "e"]),
    ("mounts", [["/a:/a"], ["/b:/b"], ["/c:/c"], [], ["/e:/e"]]),
    ("exclusive", [True, False, "user", True, False]),
    ("setup_lines", ["a", ["b", "c"], "c", ["d"], "e f"]),
    ("additional_parameters", [{"k": 1}, {"k": 2}, {"k": 3}, {"k": 4}, {"k": 5}]),
    ("env_vars", [{"K": "1"}, {"K": "2"}, {"K": "3"}, {"K": "4"}, {"K": "5"}]),
]


def _layers(bench: Bench, key: str, values: list[Any], top: int) -> list[str]:
    """Write the first `top` of the five layers, weakest first; returns the overrides."""
    written = [value if index < top else None for index, value in enumerate(values)]
    recipe, config, parent, child, override = written
    bench.config(f"run: {{env: {json.dumps({} if config is None else {key: config})}}}\n")
    tables = [("parent", 'executor = "local"', parent), ("child", 'extends = "parent"', child)]
    text = "".join(f"[{name}]\n{head}\n{_toml(key, value)}" for name, head, value in tables)
    bench.env(text, local=False)
    if recipe is not None and key in ("nodes", "gpus_per_node", "nproc_per_node"):
        bench.script(
            "stub", f'[tool.runspec]\n[tool.runspec.config]\ndir = "stub"\n[tool.runspec.resources]\n{key} = {recipe}'
        )
    return [] if override is None else [f"run.env.{key}={json.dumps(override)}"]


def _toml(key: str, value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, dict):
        return f"{key} = {{ " + ", ".join(f"{k} = {json.dumps(v)}" for k, v in value.items()) + " }\n"
    return f"{key} = {json.dumps(value)}\n"


@pytest.mark.parametrize(("key", "values"), KINDS, ids=[key for key, _ in KINDS])
@pytest.mark.parametrize(
    ("top", "source"),
    [
        (1, "recipe stub"),
        (2, "t.yaml run.env"),
        (3, "env.toml [parent]"),
        (4, "env.toml [child]"),
        (5, "override run.env"),
    ],
)
def test_a_stronger_layer_wins_and_is_named(bench: Bench, key: str, values: list[Any], top: int, source: str) -> None:
    if top == 1 and key not in ("nodes", "gpus_per_node", "nproc_per_node"):
        pytest.skip("a recipe has no such key")
    texts = _layers(bench, key, values, top)
    plan = bench.plan(*texts, config="t", profile="child")
    assert plan.profile.model_dump(mode="json")[key] == values[top - 1]
    sources = [s for k, s in plan.profile_sources.items() if k == key or k.startswith(f"{key}.")]
    assert sources == [source]


def test_the_recipes_image_is_weaker_than_any_other(bench: Bench) -> None:
    bench.script("stub", '[tool.runspec]\nimage = "recipe:1"\n[tool.runspec.config]\ndir = "stub"')
    assert bench.plan().profile.container_image == "recipe:1"
    assert bench.planned("run: {env: {container: config:1}}\n").profile.container_image == "config:1"
    bench.env('container = "profile:1"\n')
    assert bench.plan(config="t").profile.container_image == "profile:1"
    assert bench.plan("run.env.container_image=cli:1", config="t").profile.container_image == "cli:1"


def test_variables_of_several_layers_come_together(bench: Bench) -> None:
    bench.env('env_vars = { A = "profile", B = "profile" }\n')
    plan = bench.planned("run: {env: {env_vars: {A: config, C: config}}}\n", "run.env.env_vars.B=cli")
    assert plan.profile.env_vars == {"A": "profile", "B": "cli", "C": "config"}


@pytest.mark.parametrize("text", ["010", "1e-4", "yes", "null", "04:00", "1_000", "a b", "", "x=y", "[1,  2]", "#x"])
def test_a_variables_value_is_the_text_that_was_written(bench: Bench, text: str) -> None:
    assert bench.plan(f"run.env.env_vars.X={text}").profile.env_vars == {"X": text}


@pytest.mark.parametrize("python", ["venv/bin/python", "./venv/bin/python"])
def test_a_relative_python_is_one_in_the_checkout(bench: Bench, python: str) -> None:
    """The job starts in a directory of its own, which has none."""
    bench.config("")
    assert bench.plan(f"run.env.python={python}").agent["python"] == str(bench.root / "venv/bin/python")
    assert bench.plan("run.env.python=python3").agent["python"] == "python3"


def test_more_nodes_than_the_executor_has(bench: Bench) -> None:
    refused(ProfileError, lambda: bench.plan("run.env.nodes=2"), "nodes = 2", "override run.env", "local")


def test_an_executor_of_a_later_version() -> None:
    refused(ProfileError, lambda: executors.get("cloud"), 'executor = "cloud"', "local", "slurm", "docker")


def test_a_shells_variables_in_a_profile_are_no_references(bench: Bench) -> None:
    bench.env('[far]\nexecutor = "local"\nsetup_lines = "export PATH=${HOME}/bin:$PATH"\n')
    assert bench.plan(profile="far").agent["setup_lines"] == ["export PATH=${HOME}/bin:$PATH"]


# --- sizes


@pytest.mark.parametrize(
    ("text", "processes"),
    [
        ("run.env.nproc_per_node=3", 3),
        ("run.env.ntasks_per_node=3", 3),
        ("run.env.nproc_per_node=auto", 2),
        ("run.env.nproc_per_node=null", 2),
    ],
)
def test_processes_on_a_machine_without_gpus(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, text: str, processes: int
) -> None:
    monkeypatch.setattr("automodel_launch.remote.gpus.count", lambda: 0)
    plan = bench.plan(text)
    assert (plan.processes_per_node, plan.world_size) == (processes, processes)


def test_auto_is_the_number_of_gpus(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("automodel_launch.remote.gpus.count", lambda: 4)
    assert bench.plan("run.env.nproc_per_node=auto").processes_per_node == 4


# --- the run's name and the plan's hash


def test_the_next_job_of_a_run_has_its_name_and_hash(bench: Bench) -> None:
    first = bench.plan()
    for job in (first.job_id, "other-run.7"):
        (bench.workspace.runs / job).mkdir(parents=True)
    second = bench.plan()
    assert (first.job_id, second.job_id) == (f"{first.run_name}.1", f"{first.run_name}.2")
    assert second.plan_hash == first.plan_hash
    assert second.script != first.script
    assert planning.with_job_id(second, first.job_id, {}) == first


def test_a_job_elsewhere_with_that_id_is_not_forgotten(bench: Bench, tmp_path: Path) -> None:
    """Ids are what JOB names and records are kept under, whatever job root a profile has."""
    first = bench.plan()
    record = records.Record(
        first.job_id, first.run_name, "stub", "default", "local", "local", "run", str(tmp_path / "x"), "", "", 1.0
    )
    records.save(bench.workspace.records, record)
    assert bench.plan().job_id == f"{first.run_name}.2"


def test_planning_again_gives_the_same_bytes(bench: Bench) -> None:
    def as_bytes(plan: Plan) -> bytes:
        return json.dumps([plan.document(), plan.texts, plan.agent], sort_keys=False).encode()

    bench.env('env = ["B", "A"]\nenv_vars = { Z = "1", Y = "2" }\n')
    assert as_bytes(bench.plan()) == as_bytes(bench.plan())


def test_the_hash_does_not_depend_on_pythons_hash_seed(bench: Bench) -> None:
    bench.env('env = ["B", "A"]\nsecrets = ["S", "T"]\nsetup_lines = ["export A=1", "export B=2"]\n')
    code = (
        "import sys; sys.path[:0] = sys.argv[2:]\nfrom pathlib import Path\nfrom workbench import Bench\n"
        "print(Bench(Path(sys.argv[1])).plan('+x=${oc.env:A}${oc.env:B}${oc.env:S}').plan_hash)"
    )
    command = [sys.executable, "-c", code, str(bench.root), str(ROOT), str(ROOT / "tests")]
    hashes = {
        subprocess.run(
            command, env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True
        ).stdout
        for seed in ("1", "2")
    }
    assert len(hashes) == 1
    assert len(hashes.pop().strip()) == 64


def _change_config(bench: Bench) -> None:
    bench.config("steps: 3\npause: 0.0\nfail_rank: -1\ncode: 0\nvalue: null\n", "default")


def _change_recipe(bench: Bench) -> None:
    path = bench.workspace.recipes / "stub.py"
    path.write_text(path.read_text() + "# changed\n")


def _change_helper(bench: Bench) -> None:
    (bench.workspace.recipes / "node_agent.py").write_text("# changed\n")


@pytest.mark.parametrize(
    "change", [_change_config, _change_recipe, _change_helper, lambda bench: bench.env("gpu = 'h100'\n")]
)
def test_a_changed_file_changes_the_hash(bench: Bench, change: Any) -> None:
    before = bench.plan()
    change(bench)
    after = bench.plan()
    assert after.plan_hash != before.plan_hash
    assert (after.run_name != before.run_name) == (change is _change_config)


@pytest.mark.parametrize(
    ("text", "new_run"),
    [
        ("steps=3", True),
        ("value=a", True),
        ("+x.y=1", True),
        ("~value", True),
        ("run.env.nproc_per_node=1", False),
        ("run.env.env_vars.A=1", False),
        ("run.env.remote_job_dir=/elsewhere", False),
    ],
)
def test_a_changed_command_changes_the_hash(bench: Bench, text: str, new_run: bool) -> None:
    before, after = bench.plan(), bench.plan(text)
    assert after.plan_hash != before.plan_hash
    assert (after.run_name != before.run_name) == new_run


def test_an_equal_override_makes_no_new_run(bench: Bench) -> None:
    assert bench.plan("steps=2").run_name == bench.plan().run_name


def test_mode_and_profile_are_in_the_hash_but_make_no_new_run(bench: Bench) -> None:
    bench.env('[other]\nextends = "local"\n')
    plans = [bench.plan(), bench.plan(mode="batch"), bench.plan(profile="other")]
    assert len({plan.plan_hash for plan in plans}) == 3
    assert len({plan.run_name for plan in plans}) == 1


def test_references_to_the_run_make_no_new_run(bench: Bench) -> None:
    text = "steps: 1\nout: ${run.dir}/x\nname: ${run.name}\n"
    first = bench.planned(text)
    (bench.workspace.runs / f"{first.run_name}.1").mkdir(parents=True)
    assert bench.plan(config="t").run_name == first.run_name
    assert first.config["out"] == f"{first.run_dir}/x"
    assert bench.plan(config="t", fresh=True).run_name == f"{first.run_name}-2"
    assert bench.plan(config="t", name="mine").config["name"] == "mine"


def test_the_name_is_safe_for_any_config_file(bench: Bench) -> None:
    for name in ("a b$(id)", "привет", "x" * 120):
        path = bench.config("steps: 1\n", name)
        plan = bench.plan(config=str(path))
        assert len(plan.run_name) <= 100
        assert "/" not in plan.run_name


# --- what is in it


def test_nothing_is_written(bench: Bench) -> None:
    before = sorted(bench.root.rglob("*"))
    bench.plan()
    assert sorted(bench.root.rglob("*")) == before


def test_the_promised_keys(bench: Bench) -> None:
    document = bench.plan().document()
    promised = "plan_hash profile recipe mode executor nodes processes_per_node world_size command script config"
    promised += " provenance files env mounts container_image job_dir"
    assert set(promised.split()) <= set(document)
    json.dumps(document, allow_nan=False)
    by_path = {file["path"]: file["bytes"] for file in document["files"]}
    assert by_path["config.yaml"] == len(bench.plan().texts["config.yaml"].encode())
    assert "agent.json" in by_path


def test_a_plan_is_a_value(bench: Bench) -> None:
    plan = bench.plan()
    with pytest.raises(dataclasses.FrozenInstanceError):
        plan.job_id = "x"  # type: ignore[misc]  # that is what is tried
    plan.document()["files"].clear()
    assert bench.plan() == plan
    assert hash(bench.plan()) == hash(plan)


def test_nothing_behind_the_hash_can_be_changed(bench: Bench) -> None:
    bench.env('env_vars = { A = "1" }\nmounts = ["/a:/a"]\n')
    plan = bench.planned("steps: 1\nbetas: [0.9, 0.95]\nmodel: {sizes: [{width: 8}]}\n")
    changes: list[Callable[[], object]] = [
        lambda: plan.config.update(steps=99),
        lambda: plan.config["betas"].append(1),
        lambda: plan.config["model"]["sizes"][0].pop("width"),
        lambda: plan.config["model"].__setitem__("sizes", []),
        lambda: plan.profile.env_vars.__setitem__("A", "2"),
        lambda: plan.agent["env"].clear(),
        lambda: plan.texts.__delitem__("config.yaml"),
        lambda: plan.provenance.setdefault("x", "y"),
        lambda: plan.trained.__ior__({"x": 1}),
        lambda: plan.profile_sources.popitem(),
    ]
    before = json.dumps([plan.document(), plan.agent, plan.texts, plan.trained])
    for change in changes:
        with pytest.raises(TypeError, match="cannot be changed"):
            change()
    assert json.dumps([plan.document(), plan.agent, plan.texts, plan.trained]) == before
    assert plan.config == yaml.safe_load(plan.texts["config.yaml"])


def test_the_submit_command_is_under_the_hash(bench: Bench) -> None:
    plan = bench.plan()
    assert plan.submit == f"bash {plan.job_dir}/script"
    assert plan.document()["submit"] == plan.submit


def test_secrets_are_names_only(bench: Bench) -> None:
    bench.env('secrets = ["TOKEN"]\n')
    bench.environ = {"TOKEN": "hush-hush"}
    plan = bench.planned("a: '${oc.env:TOKEN}'\n")
    assert "hush-hush" not in json.dumps([plan.document(), plan.texts, plan.agent, plan.script])
    assert "TOKEN" in plan.document()["env"]


@pytest.mark.parametrize("root", ["/data/my runs", "/it's", "/a$HOME", "/a\nb", "/ünï"])
def test_the_script_survives_odd_paths(bench: Bench, root: str) -> None:
    plan = bench.plan(f"run.env.remote_job_dir={json.dumps(root)}")
    assert plan.job_dir == f"{root}/{plan.job_id}"
    words = subprocess.run(
        ["bash", "-c", plan.script.replace("exec ", "printf '%s\\0' ", 1)], capture_output=True, text=True, check=True
    ).stdout.split("\0")
    assert f"{plan.job_dir}/agent.json" in words


def test_a_job_that_reads_its_config_reads_the_plans(bench: Bench) -> None:
    import yaml

    plan = bench.planned("a: 1e-5\nt: 04:00:00\ns: 'null'\nn: null\nl: [1, {x: 'y: z'}]\nu: \"ü \\u0085 #\"\n")
    assert yaml.safe_load(plan.texts["config.yaml"]) == plan.config


@pytest.mark.parametrize(
    ("times", "text"),
    [(0.137, "0.14 epochs"), (1, "1 epoch"), (1.04, "1 epoch"), (2.36, "2.4 epochs"), (2357.3, "2,400 epochs")],
)
def test_epochs_are_told_in_two_digits(times: float, text: str) -> None:
    assert in_epochs(times) == text
