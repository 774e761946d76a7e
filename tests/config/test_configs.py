"""Configs: defaults chains, overrides, references, and where each value came from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from automodel_launch.config import configs, dotted, files, merge, overrides, unknown, yamlio
from automodel_launch.errors import ConfigError, LaunchError, UsageError
from tests.workbench import Bench, make_bench, refused

BASE = "o:\n  lr: 0.1\n  name: adam\ns: text\nl: [1, 2]\nk: null\nsteps: 2\non_off: true\n"


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    bench = make_bench(tmp_path)
    bench.config(BASE, "base")
    return bench


def _resolved(bench: Bench, text: str, *texts: str) -> merge.Config:
    plan = bench.planned(text, *texts)
    return merge.Config(plan.config, plan.provenance, plan.deferred)


def _on_base(bench: Bench, text: str, *texts: str) -> merge.Config:
    return _resolved(bench, f"defaults: [base]\n{text}", *texts)


# --- layers


def test_a_chain_merges_weakest_first(bench: Bench) -> None:
    bench.config("defaults: [base]\no: {lr: 0.2}\nmid: 1\n", "mid")
    config = _resolved(bench, "defaults: [base, mid.yaml, _self_]\nmid: 2\n")
    assert config.data["o"] == {"lr": 0.2, "name": "adam"}
    assert config.data["mid"] == 2
    assert "defaults" not in config.data
    assert (config.sources["o.lr"], config.sources["o.name"], config.sources["mid"]) == (
        *("stub/mid.yaml:2", "stub/base.yaml:3", "stub/t.yaml:2"),
    )


@pytest.mark.parametrize(
    ("text", "value", "sources"),
    [
        ("o: 5\n", 5, {"o": "stub/t.yaml:2"}),
        ("o:\n", None, {"o": "stub/t.yaml:2"}),
        ("o: {lr: 1}\n", {"lr": 1, "name": "adam"}, {"o.lr": "stub/t.yaml:2", "o.name": "stub/base.yaml:3"}),
        ("o: {}\n", {"lr": 0.1, "name": "adam"}, {"o.lr": "stub/base.yaml:2", "o.name": "stub/base.yaml:3"}),
        ("o: [1]\n", [1], {"o": "stub/t.yaml:2"}),
    ],
)
def test_a_layer_over_a_mapping(bench: Bench, text: str, value: Any, sources: dict[str, str]) -> None:
    config = _on_base(bench, text)
    assert config.data["o"] == value
    assert {key: source for key, source in config.sources.items() if key.partition(".")[0] == "o"} == sources


@pytest.mark.parametrize("key", ["s", "l", "k"])
def test_a_mapping_over_a_scalar(bench: Bench, key: str) -> None:
    config = _on_base(bench, f"{key}:\n  a: 1\n")
    assert config.data[key] == {"a": 1}
    assert config.sources[f"{key}.a"] == "stub/t.yaml:3"
    assert key not in config.sources


def test_scalar_mapping_scalar_leaves_one_source(bench: Bench) -> None:
    bench.config("defaults: [base]\ns: {a: 1}\n", "mid")
    config = _resolved(bench, "defaults: [mid]\ns: again\n")
    assert [(k, v) for k, v in config.sources.items() if k[0] == "s" and k != "steps"] == [("s", "stub/t.yaml:2")]


def test_every_leaf_has_a_source_and_nothing_else_has(bench: Bench) -> None:
    config = _on_base(bench, "new: {a: {b: []}, c: {}}\n", "+x.y=1", "~o.lr", "+s={q: 1}")
    assert set(config.sources) == {key for key, _ in dotted.flatten(config.data)}
    assert all(":" in source or source.startswith("override ") for source in config.sources.values())


def test_a_list_is_replaced_whole(bench: Bench) -> None:
    assert _on_base(bench, "l: [9]\n").data["l"] == [9]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("defaults: [bsae]\n", (":1:", "bsae", "'base'")),
        ("a: 1\ndefaults: base\n", (":2:", "list")),
        ("defaults: [{a: b}]\n", (":1:", "list")),
        ("defaults: [t]\n", ("circle", "t.yaml")),
        ("defaults: [loop]\n", ("circle", "loop.yaml")),
    ],
)
def test_defaults_that_do_not_work(bench: Bench, text: str, words: tuple[str, ...]) -> None:
    bench.config("defaults: [t]\n", "loop")
    bench.config(text)
    refused(ConfigError, lambda: bench.layered(config="t"), ".yaml", *words)


def test_defaults_outside_of_the_folder_find_the_shipped_configs(bench: Bench, tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    own = folder / "own.yaml"
    own.write_text("defaults: [base]\ns: own\n")
    merged = bench.layered(config=str(own))
    assert (merged.data["s"], merged.data["steps"]) == ("own", 2)
    assert (merged.sources["s"], merged.sources["steps"]) == ("mine/own.yaml:2", "stub/base.yaml:7")
    (folder / "base.yaml").write_text("steps: 3\n")
    assert bench.layered(config=str(own)).data == {"steps": 3, "s": "own"}
    (folder / "base.yaml").write_text("defaults: [base]\nsteps: 4\n")
    merged = bench.layered(config=str(folder / "base.yaml"))
    assert (merged.data["s"], merged.data["steps"]) == ("text", 4)
    own.write_text("defaults: [bsae]\n")
    refused(ConfigError, lambda: bench.layered(config=str(own)), "own.yaml:1", "'base'", f"{folder}/bsae", "stub/bsae")


def test_anchors_and_merge_keys(bench: Bench) -> None:
    config = _resolved(bench, "b: &b\n  x: 1\n  y: 2\nc:\n  <<: *b\n  y: 3\n")
    assert config.data == {"b": {"x": 1, "y": 2}, "c": {"x": 1, "y": 3}}
    assert (config.sources["c.x"], config.sources["c.y"]) == ("stub/t.yaml:2", "stub/t.yaml:6")
    assert "&" not in yamlio.dump(config.data)


# --- finding


def test_names_and_paths(bench: Bench, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = bench.config("steps: 1\n", "mine")
    assert files.find(bench.recipe, "mine") == path
    assert files.find(bench.recipe, str(path)) == path
    monkeypatch.chdir(path.parent)
    assert files.find(bench.recipe, "mine.yaml") == path
    monkeypatch.chdir(bench.workspace.recipes)
    assert files.find(bench.recipe, "../configs/stub/mine.yaml") == path


def test_the_way_to_a_config_changes_no_source(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.config("defaults: [base]\nx: 1\n", "mine")
    plans = [bench.plan(config="mine")]
    monkeypatch.chdir(bench.workspace.recipes)
    plans.append(bench.plan(config="../configs/stub/mine.yaml"))
    monkeypatch.chdir(bench.workspace.configs / "stub")
    plans.append(bench.plan(config="./mine.yaml"))
    assert [plan.provenance for plan in plans] == [plans[0].provenance] * 3
    assert len({plan.plan_hash for plan in plans}) == 1


def test_a_config_that_is_not_there(bench: Bench) -> None:
    refused(ConfigError, lambda: bench.layered(config="deflaut"), "deflaut", "'default'", "base")
    refused(ConfigError, lambda: bench.layered(config="no/x.yaml"), "no/x.yaml", "no such")


# --- overrides


def test_each_form(bench: Bench) -> None:
    config = _on_base(bench, "", "o.lr=-1e-4", "+a.b.c=1", "~l", "--s=x", "k=[1, {z: null}]", "+k2=null")
    assert config.data["o"] == {"lr": -1e-4, "name": "adam"}
    assert config.data["a"] == {"b": {"c": 1}}
    assert (config.data["s"], config.data["k"], config.data["k2"]) == ("x", [1, {"z": None}], None)
    assert "l" not in config.data
    assert config.sources["a.b.c"] == "override +a.b.c=1"
    assert config.sources["s"] == "override --s=x"


def test_the_last_override_wins(bench: Bench) -> None:
    assert _on_base(bench, "", "o.lr=1", "o.lr=2", "+o.lr=3").data["o"]["lr"] == 3


def test_removing_the_last_key_names_the_override(bench: Bench) -> None:
    config = _on_base(bench, "", "~o.lr", "~o.name")
    assert config.data["o"] == {}
    assert config.sources["o"] == "override ~o.name"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("o.lrr=5", ("o.lrr", "'o.lr'", "+o.lrr")),
        ("o.Name=5", ("'o.name'",)),
        ("zz.yy=1", ("zz.yy", "+zz.yy")),
        ("~o.lrr", ("o.lrr", "'o.lr'")),
        ("k.b=1", ("k.b", "+k.b")),
        ("+s.b=1", ("'s'", "text", "not a mapping")),
        ("l.a=1", ("'l'", "list of")),
        ("run.nmae=1", ("run.nmae",)),
        ("run.name=1", ("run.name", "--name")),
        ("run=1", ("run",)),
        ("~run", ("run",)),
        ("~run.env.nodes", ("removed",)),
    ],
)
def test_overrides_that_do_not_fit(bench: Bench, text: str, words: tuple[str, ...]) -> None:
    bench.config("defaults: [base]\n")
    refused(ConfigError, lambda: bench.layered(text, config="t"), f"override {text}", *words)


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("lr=3e-4", "Did you mean 'o.lr'?", "o.lr=3e-4; write +lr=... to add a new key"),
        ("~lr", "Did you mean 'o.lr'?", "~o.lr; see --dry-run"),
        ("c.size=1", "Did you mean 'm.c.size'?", "m.c.size=1; write"),
        ("name=x", "Did you mean 'o.name' or 'p.name'?", "o.name=x or p.name=x; write"),
        ("wide=1", "Did you mean 'w.a.wide' or 'w.b.wide' or 'w.c.wide'?", "w.a.wide=1 or w.b.wide=1 or w.c.wide=1; w"),
        ("o.lrr=5", "Did you mean 'o.lr'?", "o.lr=5; write"),
        ("--lr=3e-4", "Did you mean '--o.lr'?", "--o.lr=3e-4"),
        ("--name=x", "Did you mean '--o.name' or '--p.name'?", "--o.name=x or --p.name=x"),
    ],
)
def test_the_end_of_a_key_is_completed(bench: Bench, text: str, message: str, hint: str) -> None:
    bench.config(
        "defaults: [base]\nm: {c: {size: 2}}\np: {name: y}\n"
        "w: {a: {wide: 1}, b: {wide: 1}, c: {wide: 1}, d: {wide: 1}}\n"
    )
    with pytest.raises(LaunchError) as caught:
        bench.layered(text, config="t")
    assert message in caught.value.message and str(caught.value.hint).startswith(hint)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("steps=banana", "an integer"),
        ("steps=2.5", "an integer"),
        ('steps="2.5"', "an integer"),
        ('steps=""', "an integer"),
        ("steps=true", "an integer"),
        ("o.lr=x", "a number"),
        ("o.lr=true", "a number"),
        ("on_off=1", "true or false"),
        ("l={a: 1}", "a list"),
        ("o=5", "a mapping"),
    ],
)
def test_a_value_of_another_kind(bench: Bench, text: str, kind: str) -> None:
    bench.config("defaults: [base]\n")
    refused(ConfigError, lambda: bench.layered(text, config="t"), f"override {text}", kind, ".yaml", "+")


@pytest.mark.parametrize(
    "text", ["o.lr=1", "steps=null", "k=5", "s=5", "l=path", "steps=${o.lr}", "+steps=x", "o=null"]
)
def test_values_whose_kind_may_change(bench: Bench, text: str) -> None:
    bench.config("defaults: [base]\n")
    bench.layered(text, config="t")


@pytest.mark.parametrize(
    ("text", "near"), [("--dryrun", "--dry-run"), ("--dry_run", "--dry-run"), ("--dry-runn", "--dry-run")]
)
def test_a_misspelt_option(bench: Bench, text: str, near: str) -> None:
    refused(UsageError, lambda: bench.layered(text), text, near, "Nothing was submitted")
    parsed = [overrides.parse(text)]
    refused(UsageError, lambda: unknown.refuse_bare_options(parsed, ["--dry-run"]), text, near)
    refused(UsageError, lambda: bench.layered(f"{text}=1"), text, near)


@pytest.mark.parametrize(("text", "value"), [('steps="8"', 8), ("o.lr='1e-3'", 1e-3), ("on_off='true'", True)])
def test_a_number_in_quotes_is_one_where_the_config_has_one(bench: Bench, text: str, value: object) -> None:
    """AutoModel looks inside the quotes; OmegaConf and so Megatron-Bridge take 8, and not '8'."""
    bench.config("defaults: [base]\n")
    found: object = bench.layered(text, config="t").data
    for part in text.partition("=")[0].split("."):
        assert isinstance(found, dict)
        found = found[part]
    assert (found, type(found)) == (value, type(value))


def test_an_option_that_is_not_much_like_one_may_be_a_key(bench: Bench) -> None:
    unknown.refuse_bare_options([overrides.parse("--sample")], ["--name", "--dry-run"])


@pytest.mark.parametrize("text", ["--steps", "--o.lr"])
def test_a_key_without_its_value(bench: Bench, text: str) -> None:
    bench.config("defaults: [base]\n")
    refused(UsageError, lambda: bench.layered(text, config="t"), text, "value")


def test_overrides_are_not_changed_by_being_applied(bench: Bench) -> None:
    bench.config("defaults: [base]\n")
    parsed = [overrides.parse(text) for text in ("+a={b: 1, c: 2}", "a.b=5", "~a.c")]
    first = configs.load(bench.recipe, "t", parsed)
    second = configs.load(bench.recipe, "t", parsed)
    assert first.data == second.data
    assert parsed[0].value == {"b": 1, "c": 2}


def test_resolving_does_not_change_the_layers(bench: Bench) -> None:
    layered = bench.layered(config="base")
    before = repr(layered)
    bench.plan(config="base")
    from automodel_launch.config.envscope import EnvScope

    resolved = layered.resolve({"name": "n"}, EnvScope({}))
    resolved.data["l"].append(3)
    assert repr(layered) == before


# --- references


@pytest.mark.parametrize(
    "text", ["a: 1\nb: {c: [x, {d: null}], e: .inf}\nf: '\\\\'\n", "a: &x [1, {b: y}]\nc: *x\nd: {e: *x}\n", "{}"]
)
def test_what_refers_to_nothing_is_what_omegaconf_makes_of_it(bench: Bench, text: str) -> None:
    config = _resolved(bench, text)
    by_omegaconf = _resolved(bench, f"{text if text != '{}' else ''}\nzz: ${{oc.env:HOME}}\n")
    assert config.data == {key: value for key, value in by_omegaconf.data.items() if key != "zz"}
    assert "&" not in yamlio.dump(config.data), "an alias is a copy in each place, as AutoModel may change one of them"


def test_references_are_filled_in(bench: Bench) -> None:
    bench.env('[wandb]\nproject = "p"\n[artifacts]\nroot = "/art"\n')
    config = _resolved(
        bench,
        "a: ${b.c}\nb: {c: 5}\nd: x-${b.c}\ndir: ${run.dir}/ckpt\nname: ${run.name}\nw: ${run.wandb.project}\n"
        "e: ${run.wandb.entity}\nn: ${run.env.nproc_per_node}\ndata: ${run.data_dir}\nart: ${run.artifacts.root}\n"
        "own: ${run.data}\nrun: {data: v1, wandb: {entity: me}}\n",
    )
    plan = bench.plan(config="t")
    assert config.data == {
        **{"a": 5, "b": {"c": 5}, "d": "x-5", "dir": f"{plan.run_dir}/ckpt", "name": plan.run_name},
        **{"w": "p", "e": "me", "n": 2, "data": str(bench.workspace.data), "art": "/art", "own": "v1"},
    }
    assert config.sources["dir"] == "stub/t.yaml:4"


@pytest.mark.parametrize(
    ("value", "environ", "expected"),
    [
        ("${oc.env:X}", {"X": "v"}, "v"),
        ("${oc.env:X}", {"X": "a b'$\n\"é"}, "a b'$\n\"é"),
        ("${oc.env:X}", {"X": "${oc.env:Y}"}, "${oc.env:Y}"),
        ("${oc.env:X,d}", {}, "d"),
        ("${oc.env:X,d}", {"X": ""}, ""),
        ("${oc.env:X,5}", {}, "5"),
        ("${oc.env:X,null}", {}, None),
        ("${oc.env:X,/a/b}/c", {}, "/a/b/c"),
        ("${oc.env:X,${oc.env:Y,d}}", {}, "d"),
        ("${oc.env:X,${oc.env:Y,d}}", {"Y": "y"}, "y"),
        ("${oc.env:X,${oc.env:Y}}", {"X": "x"}, "x"),
        ("${oc.decode:${oc.env:X}}", {"X": "5"}, 5),
        ("${oc.env:SLURM_JOB_ID}-a", {"SLURM_JOB_ID": "7"}, "${oc.env:SLURM_JOB_ID}-a"),
        ("${oc.env:SLURM_JOB_ID,none}", {}, "${oc.env:SLURM_JOB_ID,none}"),
        ("${oc.env:SLURM_JOB_ID,null}", {}, "${oc.env:SLURM_JOB_ID,null}"),
        ("${oc.env:SECRET}", {"SECRET": "hush"}, "${oc.env:SECRET}"),
        ("${oc.env:EXPORTED}", {"EXPORTED": "here"}, "${oc.env:EXPORTED}"),
        ("${oc.env:DECLARED}", {}, "${oc.env:DECLARED}"),
        ("${oc.env:SET_IN_PROFILE}", {"SET_IN_PROFILE": "here"}, "profile"),
    ],
)
def test_environment_variables(bench: Bench, value: str, environ: dict[str, str], expected: Any) -> None:
    bench.env('setup_lines = ["export EXPORTED=1"]\nsecrets = ["SECRET"]\nenv_vars = { SET_IN_PROFILE = "profile" }\n')
    bench.environ = environ
    config = _resolved(bench, f"run: {{job_env: [DECLARED]}}\nv: '{value}'\n")
    assert config.data["v"] == expected
    names = {name for name in ("SLURM_JOB_ID", "SECRET", "EXPORTED", "DECLARED") if name in value}
    assert set(config.deferred) == names


def test_a_variable_that_nothing_sets(bench: Bench) -> None:
    words = ("NOPE", "other.b", "stub/t.yaml:3", "export NOPE", "job_env", "NOPE,DEFAULT")
    refused(
        ConfigError, lambda: _resolved(bench, "a: 1\nother:\n  b: '${oc.env:NOPE}'\nx: '${oc.env:NOPE_2,d}'\n"), *words
    )


def test_of_several_variables_each_is_named_in_what_to_type(bench: Bench) -> None:
    words = ("export ONE=... TWO=...,", "job_env: [ONE, TWO]")
    refused(ConfigError, lambda: _resolved(bench, "a: '${oc.env:TWO}'\nb: '${oc.env:ONE}'\n"), *words)


def test_a_default_that_automodel_could_not_read_is_refused(bench: Bench) -> None:
    """Its loader takes the first `}` for the end of a reference (0.7.0, resolve_yaml_env_vars)."""
    for default in ("'a}b'", "${oc.env:SLURM_NODEID}"):
        refused(ConfigError, lambda d=default: _resolved(bench, f'a: "${{oc.env:RANK,{d}}}"\n'), "RANK")  # type: ignore[misc]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("x: 1\na: ${b}\nb: ${a}\n", ("stub/t.yaml:2", "a")),
        ("a: ${a}\n", ("stub/t.yaml:1",)),
        ("a: {b: '${a}'}\n", ("stub/t.yaml:1", "a.b")),
        ("x: 1\na: ${nope.b}\n", ("stub/t.yaml:2", "nope")),
        ("a: ${run.nope}\n", ("stub/t.yaml:1", "run.nope")),
        ("a: ${foo\n", ("stub/t.yaml:1", "a")),
        ("a: ${nosuch:x}\n", ("stub/t.yaml:1", "nosuch")),
        ("a: ${oc.env:}\n", ("a",)),
    ],
)
def test_references_to_nothing(bench: Bench, text: str, words: tuple[str, ...]) -> None:
    refused(ConfigError, lambda: _resolved(bench, text), *words)


def test_a_value_that_must_be_given(bench: Bench) -> None:
    refused(ConfigError, lambda: _resolved(bench, "x: 1\na:\n  b: ???\n"), "a.b", "stub/t.yaml:3")
    assert _resolved(bench, "a:\n  b: ???\n", "+a.b=1").data == {"a": {"b": 1}}


@pytest.mark.parametrize("text", ["a: {0: x, y: z}\n", "on: 1\na: 2\n", "a: {0: x, 1: y}\n", "a: !!binary aGVsbG8=\n"])
def test_odd_keys_and_values_never_crash(bench: Bench, text: str) -> None:
    try:
        bench.planned(text)
    except LaunchError as error:
        assert error.exit_code == 2


@pytest.mark.parametrize(
    ("text", "key"),
    [
        *(("a: 2\n1: 2\n", "1"), ("a: 2\non: 2\n", "on"), ("a: 2\n1.5: {_target_: x}\n", "1.5")),
        *(("a: 2\nnull: 2\n", "null"), ("a: 2\n!!binary aGk=: 2\n", "aGk="), ("a: &b {1: 2}\n<<: *b\n", "1")),
        *(("a: 2\nrun: {1: 2}\n", "run.1"), ("a: 2\nrun: {env: {on: 2}}\n", "run.env.on")),
        ("run:\n  env: {env_vars: {1: x}}\n", "run.env.env_vars.1"),
    ],
)
def test_a_key_that_is_no_string_is_refused_with_its_place(bench: Bench, text: str, key: str) -> None:
    line = 1 if "&b" in text else 2  # what `<<` brings is where its anchor is
    refused(ConfigError, lambda: bench.planned(text), f"stub/t.yaml:{line}: the key {key} is not a string", "quote it")


def test_keys_that_look_like_other_kinds_and_are_none(bench: Bench) -> None:
    text = "'1': 2\n'on': 3\n08: 4\nno-1: 5\n2024-01-01: 6\na: &b {x: 1}\nc: {<<: *b, 0: z, 1: [{2: y}]}\n<<: *b\n"
    config = bench.planned(text + "run: {env: {env_vars: {'on': x}}}\n").config
    assert {key: config[key] for key in config if key not in "ac"} == {
        **{"1": 2, "on": 3, "08": 4, "no-1": 5, "2024-01-01": 6, "x": 1},
    }
    assert config["c"] == {"x": 1, 0: "z", 1: [{2: "y"}]}


@pytest.mark.parametrize("value", [".inf", "-.inf", ".nan"])
def test_numbers_that_json_lacks_never_reach_the_plan(bench: Bench, value: str) -> None:
    import json

    try:
        json.dumps(bench.planned(f"a: {value}\n").document(), allow_nan=False)
    except LaunchError as error:
        assert "stub/t.yaml:1" in error.message


# --- the section `run`


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("run: 5\n", ("run",)),
        ("run: [a]\n", ("run",)),
        ("run: {evn: {}}\n", ("run.evn", "'env'")),
        ("run: {name: x}\n", ("run.name", "--name")),
        ("run: {env: 5}\n", ("run.env", "mapping")),
        ("run: {env: abc}\n", ("run.env", "mapping")),
        ("run: {env: [nodes]}\n", ("run.env", "mapping")),
        ("run: {env: {nodse: 1}}\n", ("run.env.nodse", "'nodes'", "stub/t.yaml:1")),
        ("run: {env: {nodes: x}}\n", ("nodes", "'x'", "t.yaml")),
        ("run: {env: {env_vars: foo}}\n", ("env_vars",)),
        ("run: {wandb: 5}\n", ("run.wandb",)),
        ("run: {job_env: FOO}\n", ("run.job_env", "list")),
        ("run: {job_env: 5}\n", ("run.job_env", "list")),
        ("run: {job_env: [5]}\n", ("run.job_env",)),
    ],
)
def test_a_wrong_section_run(bench: Bench, text: str, words: tuple[str, ...]) -> None:
    bench.env('env_vars = { A = "1" }\n')
    refused(LaunchError, lambda: bench.planned(text, "run.env.nproc_per_node=2"), *words)


@pytest.mark.parametrize("text", ["run:\n", "run: {env:}\n", "run: {}\n", "run: {wandb:, job_env:}\n"])
def test_an_empty_section_run(bench: Bench, text: str) -> None:
    assert bench.planned(text + "a: 1\n").config == {"a": 1}


def test_run_never_reaches_automodel(bench: Bench) -> None:
    assert "run" not in bench.planned("run: {data: x, env: {nodes: 1}}\na: 1\n").config


@pytest.mark.parametrize("text", ["run.env.extends=x", "run.env.nodse=1"])
def test_unknown_keys_of_the_profile(bench: Bench, text: str) -> None:
    key = text.removeprefix("run.env.").partition("=")[0]
    said = refused(LaunchError, lambda: bench.plan(text), key)
    assert f"Did you mean '{key}'" not in said
    bench.config(f"run: {{env: {{{key}: 1}}}}\n")
    said = refused(LaunchError, lambda: bench.plan(config="t"), key)
    assert f"Did you mean '{key}'" not in said


@pytest.mark.parametrize(
    "texts",
    [
        ("run.env.nodes.x=1",),
        ("run.env.setup_lines.x=1",),
        ("run.env.env_vars=5", "run.env.env_vars.A=1"),
        ("+run.env=5",),
    ],
)
def test_keys_below_what_is_no_table(bench: Bench, texts: tuple[str, ...]) -> None:
    bench.env('setup_lines = ["true"]\n')
    refused(LaunchError, lambda: bench.plan(*texts), texts[0].lstrip("+").split(".")[1])


def test_keys_that_the_recipe_knows_may_be_missing_in_a_config(bench: Bench) -> None:
    block = '[tool.runspec]\nname = "stub"\n[tool.runspec.config]\ndir = "configs/stub"\noptional = ["sample"]'
    bench.script("stub", block)
    bench.config("a: 1\n")
    for texts in (["sample=5"], ["--sample=5"]):
        layered = bench.layered(*texts, config="t")
        assert layered.data == {"a": 1, "sample": 5} and layered.sources["sample"] == f"override {texts[0]}"
    refused(ConfigError, lambda: bench.layered("smple=5", config="t"), "Did you mean 'sample'?")
    refused(UsageError, lambda: bench.layered("--smple=5", config="t"), "Did you mean '--sample'?")
    refused(UsageError, lambda: bench.layered("--sample", config="t"), "needs a value")
