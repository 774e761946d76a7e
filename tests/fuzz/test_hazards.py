"""Files that are small and stand for more than fits anywhere, or that end a reader of the standard library."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.faults.launches import ROOT
from tests.fuzz.launching import Place, judged

TINY = f"defaults: [{ROOT}/configs/pretrain/tiny]\n"
LOCAL = '[here]\nexecutor = "local"\nnproc_per_node = 2\ndata_dir = "DATA"\n'


def _aliases(first: str, row: str) -> str:
    """Nine lines, each of which names the one before ten times."""
    lines = [f"a0: &a0 {first}"]
    return "\n".join(lines + [f"a{n}: &a{n} {row.format(', '.join([f'*a{n - 1}'] * 10))}" for n in range(1, 10)])


def _references(form: str) -> str:
    return "b0: xxxxxxxxxx\n" + "\n".join(f"b{n}: {form.format(f'${{b{n - 1}}}')}" for n in range(1, 10))


CONFIGS = {
    "mappings 3,000 deep": ("a: " + "{a: " * 3000 + "1" + "}" * 3000, "nested too deeply"),
    "lists that libyaml's composer crashes at": ("a: " + "[" * 200_000, "nested too deeply"),
    "lists as deep as OmegaConf ends at": ("a: " + "[" * 150 + "1" + "]" * 150, "nested too deeply"),
    "aliases of aliases": (_aliases("[x, x]", "[{}]"), "more than 20,000 values"),
    "merges of merges": (_aliases("{a: 1}", "{{<<: [{}]}}"), "more than 20,000 values"),
    "an anchor in itself": ("a: &a {b: {c: *a}}", "contains itself"),
    "an anchor that is its own key": ("a: &a\n  ? *a\n  : 1", "contains itself"),
    "an integer that is none": ("a: !!int", "its tag"),
    "a truth that is none": ("a: !!bool banana", "its tag"),
    "a fraction that is none": ("a: !!float ''", "its tag"),
    "10 MB": ("a: '" + "x" * 10_000_000 + "'", "4.2 MB at most"),
    "references to references": (_references("{0}{0}{0}{0}{0}{0}{0}{0}{0}{0}"), "stand for more than"),
    "a list of a reference to such a list": (
        _references("[" + ", ".join(["'{0}'"] * 8) + "]"),
        "stand for more",
    ),
    "1,000 references in one string": ("a: " + "${b}" * 1000, "500 at most"),
    "defaults in defaults": ("a: '" + "${oc.env:X," * 300 + "}" * 300 + "'", "too deeply"),
    "a list as a key": ("model: {[a]: 1}", "where a key belongs"),
    "null as a key": ("null: 3", "not a string"),
    "a number as a key": ("1: 3", "not a string"),
    "a reference that is not closed": ("optimizer: {lr: '${oc.env:X'}", "not closed by a `}`"),
    "NUL in a path": ('dataset: {paths: ["/a\\0b"]}', "NUL"),
    "NUL in a tokenizer's directory": ('dataset: {tokenizer: {pretrained_model_name_or_path: "/a\\0b"}}', "NUL"),
    "NUL in a default": ('defaults: ["a\\0b"]', "defaults names"),
    "weights of no size": ('dataset: {paths: [.nan, "/a", .inf, "/b"]}', "error:"),
    "a weight of 400 digits": (f'dataset: {{paths: [1{"0" * 400}, "/a"]}}', "error:"),
    "a blend of odd weights": ("dataset: {paths: HERE/nan.json}", "error:"),
    "a blend that is nested": ("dataset: {paths: HERE/deep.json}", "error:"),
    "a blend that nobody writes": ("dataset: {paths: HERE/fifo}", "error:"),
    "a blend without an end": ("dataset: {paths: /dev/zero}", "error:"),
    "a link to itself": ("dataset: {paths: HERE/loop}", "error:"),
    "1 million digits": (f"optimizer: {{lr: {'1' * 1_000_000}}}", "error:"),
}
PROFILES = {
    "arrays 10,000 deep": ("code = " + "[" * 10_000, "not TOML"),
    "a number of 10,000 digits": (f"nodes = {'1' * 10_000}", "not TOML"),
    "references to references": (
        'account = "xxxxxxxxxx"\n'
        + "".join(
            f'{key} = "{("${" + below + "}") * 10}"\n'
            for key, below in zip(
                ("partition", "qos", "constraint", "reservation", "nodelist", "exclude"),
                ("account", "partition", "qos", "constraint", "reservation", "nodelist"),
                strict=True,
            )
        ),
        "stand for more than",
    ),
}


def _check(here: Place, config: str, env: str = LOCAL, *words: str) -> tuple[int, str]:
    path, profiles = here.write("case.yaml", config), here.write("env.toml", env)
    return judged(["check", "pretrain", "-c", str(path), "--env", str(profiles), "--run", "here", *words])


@pytest.mark.parametrize("name", CONFIGS)
def test_a_config_is_refused_in_words(here: Place, name: str) -> None:
    text, words = CONFIGS[name]
    given = text if text.startswith("defaults:") else TINY + text
    code, said = _check(here, f"{given}\n")
    assert code in (2, 3)
    assert words in said


@pytest.mark.parametrize("name", PROFILES)
def test_a_profile_is_refused_in_words(here: Place, name: str) -> None:
    text, words = PROFILES[name]
    code, said = _check(here, TINY, f"{LOCAL}{text}\n")
    assert code == 2
    assert words in said


def test_a_file_too_large_says_why_and_what_to_do(here: Place) -> None:
    notes = "notes:\n" + "- a note of a person who writes many of them\n" * 250_000
    code, said = _check(here, TINY + notes)
    assert code == 2 and "11." in said and "4.2 MB at most, since every command reads the whole of it" in said
    assert "a file of its own" in said
    paths = f"{TINY}dataset:\n  paths:\n" + "".join(f"  - /data/{'x' * 200}/{number}\n" for number in range(11_000))
    code, said = _check(here, paths)  # validation_dataset.paths is ${dataset.paths}: it is there twice
    assert code == 2 and "case.yaml: its references stand for more than" in said and "name a file instead" in said


def test_configs_that_name_each_other_twice(here: Place) -> None:
    for number in range(30):
        here.write(f"c{number}.yaml", f"defaults: [c{number + 1}, c{number + 1}]\n")
    here.write("c30.yaml", "a: 1\n")
    code, said = _check(here, "defaults: [c15]\n")
    assert code == 2 and "more than 200 configs" in said
    code, said = _check(here, "defaults: [c0]\n")
    assert code == 2 and "one inside the other" in said


@pytest.mark.parametrize(
    "word", ["a=" + "[" * 5000, "+a." + "b." * 500 + "c=1", "+a=[" + "*a," * 20 + "]", "x=" + "y" * 90_000]
)
def test_an_override_is_refused_in_words(here: Place, word: str) -> None:
    code, said = _check(here, TINY, LOCAL, word)
    assert code in (2, 3) and "error:" in said


def test_a_long_list_is_taken_whole_and_may_be_referred_to(here: Place) -> None:
    from automodel_launch.config import interpolation
    from automodel_launch.config.envscope import EnvScope
    from automodel_launch.config.merge import MergedConfig

    def resolved(**more: Any) -> dict[str, Any]:
        data = {"a": {"paths": [f"/s/{number}" for number in range(5000)]}, **more}
        return interpolation.interpolate(MergedConfig("t", here.here, data), data, EnvScope({}))

    found = resolved(b="${a.paths}")
    assert found["a"]["paths"] == found["b"] and len(found["b"]) == 5000
    assert resolved(b="${a.paths[4999]}")["b"] == "/s/4999"
    assert resolved(b="${a.paths[0]} x")["b"] == "/s/0 x"


@pytest.mark.parametrize("words", [["--sample", "200"], ["--sample=200"], ["sample=200"]])
def test_a_sample_of_the_data(here: Place, words: list[str]) -> None:
    """`--sample 200` is the key `sample` in AutoModel's form."""
    env = here.write("env.toml", LOCAL)
    corpus = Path(here.stage.text("DATA")) / "tiny" / "corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    (corpus / "a.jsonl").write_text('{"text": "one"}\n')
    code, said = judged(["check", "data-prep", "-c", "tiny", "--env", str(env), "--run", "here", *words])
    assert code == 0, said


@pytest.mark.parametrize("key", ["stop_grace", "nodes", "nproc_per_node", "gpus_per_node"])
def test_counts_beyond_reason(here: Place, key: str) -> None:
    code, said = _check(here, TINY, LOCAL, f"run.env.{key}={10**400}")
    assert code == 2 and "at most 2147483647" in said


@pytest.mark.parametrize("value", ["1", "true", "{A: B}", "[[A]]", "2026-01-01"])
def test_names_of_secrets_of_another_kind(here: Place, value: str) -> None:
    code, said = _check(here, TINY, LOCAL, f"run.env.secrets={value}")
    assert code == 2 and "secrets" in said


@pytest.mark.parametrize("look", [["--dry-run", "--full"], ["--dry-run", "--json"], ["--dry-run"]])
@pytest.mark.parametrize("recipe", ["pretrain", "data-prep"])
def test_what_json_does_not_have_is_shown_all_the_same(here: Place, recipe: str, look: list[str]) -> None:
    config = here.write("case.yaml", f"defaults: [{ROOT}/configs/{recipe}/tiny]\na: {{b: !!binary /wA=, c: .inf}}\n")
    env = here.write("env.toml", LOCAL)
    code, said = judged([recipe, *look, "-c", str(config), "--env", str(env), "--run", "here"])
    assert code in (0, 2, 3), said


@pytest.mark.parametrize("value", ["9" * 400, f"'{'9' * 400}'", f"[1, {'-' + '9' * 400}]"])
def test_numbers_that_no_float_holds(here: Place, value: str) -> None:
    code, said = _check(here, TINY, LOCAL, f"+lr_scheduler.lr_warmup_steps={value}")
    assert (code == 2 and "more than 300 digits" in said) or "'" in value  # a string, to all but AutoModel


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["-c", "~nobody-of-that-name/x.yaml"], "knows no such user"),
        (["run.env.remote_job_dir=~nobody-of-that-name/x"], "no such user"),
        (["run.env.comment=a\ud800b"], "unicode"),
    ],
)
def test_homes_and_texts_that_are_none(here: Place, words: list[str], said: str) -> None:
    env = here.write("env.toml", LOCAL)
    code, text = judged(["check", "pretrain", "--env", str(env), "--run", "here", *words])
    assert code == 2 and said in text
