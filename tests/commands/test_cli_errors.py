"""Bad input: a clear error with exit code 2 or 3, no traceback, and nothing left behind."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.commands.conftest import Cli
from tests.conftest import ROOT


@pytest.mark.parametrize("mode", [("--batch", "local"), ()])
@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (("stub", "--dryrun"), ("--dryrun", "'--dry-run'", "Nothing was submitted")),
        (("stub", "--dry_run"), ("--dry_run", "'--dry-run'")),
        (("stub", "--dryrun", "steps=1"), ("'--dry-run'",)),
        (("stub", "--dryrun=true"), ("'--dry-run'",)),
        (("stub", "--bacth", "local"), ("--bacth", "'--batch'")),
        (("stub", "--dry"), ("--dry",)),
        (("stub", "--zzzz"), ("--zzzz",)),
        (("stub", "--zz.yy", "5"), ("zz.yy",)),
        (("stub", "-x"), ("-x",)),
        (("stub", "--dry-run=true"), ("--dry-run",)),
        (("stub", "-c"), ("-c",)),
        (("stub", "--name"), ("--name",)),
        (("stub", "stpes=1"), ("stpes", "'steps'")),
        (("stub", "steps=banana"), ("steps", "banana", "an integer", "default.yaml:1")),
        (("stub", "steps"), ("'steps'", "key.sub=value")),
        (("stub", "steps=[1"), ("steps=[1", "not YAML")),
        (("stub", "steps=\x01"), ("steps=", "not YAML")),
        (("stub", "run.env.nodse=2"), ("nodse", "'nodes'")),
        (("stub", "run.env.nodes=abc"), ("nodes", "'abc'", "an integer")),
        (("stub", "run.env.nodes.x=1"), ("nodes",)),
        (("stub", "run.env.nodes=2"), ("nodes = 2", "local")),
        (("stub", "-c", "deflaut"), ("deflaut", "'default'")),
        (("stub", "-c", "./no.yaml"), ("no.yaml", "no such")),
        (("stbu",), ("stbu", "'stub'")),
        (("./no.py",), ("no.py", "no such")),
        (("stub", "--name", "a b"), ("--name", "'a b'")),
        (("stub", "--name", "../x"), ("--name",)),
        (("stub", "+value=${nope}"), ("nope",)),
        (("stub", "+value=${oc.env:NOT_SET_ANYWHERE}"), ("NOT_SET_ANYWHERE", "export")),
    ],
)
def test_a_wrong_launch(launch: Cli, mode: tuple[str, ...], argv: tuple[str, ...], words: tuple[str, ...]) -> None:
    launch.refused(2, (*argv[:1], *mode, *argv[1:]), *words)


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (("--dry-run",), ("recipe", "--dry-run")),
        (("stub", "--run", "lcoal"), ("lcoal", "'local'")),
        (("stub", "--batch", "lcoal"), ("lcoal", "'local'")),
        (("stub", "--run", "wandb"), ("wandb", "not a profile")),
        (("stub", "--run", "local", "--batch", "local"), ("--batch", "--run")),
        (("recipes", "extra"), ("extra",)),
        (("recipes", "--jsn"), ("--jsn", "--json")),
        (("configs", "stbu"), ("'stub'",)),
        (("profiles", "lcoal"), ("'local'",)),
        (("status",), ("no job", "none was submitted")),
        (("logs",), ("no job", "none was submitted")),
        (("cancel",), ("which JOB", "launch.py jobs")),
        (("pause",), ("which JOB",)),
        (("resume",), ("which JOB",)),
        (("doctor",), ("which PROFILE", "local")),
        (("nodes",), ("which PROFILE", "local")),
        (("stub", "--full"), ("--full", "--dry-run", "Nothing was submitted")),
        (("status", "nope"), ("no job", "nope")),
        (("profile",), ("which JOB", "launch.py profiles")),
        (("profile", "local"), ("no job", "launch.py profiles local")),
        (("attach", "last"), ("no job",)),
        (("logs", "last", "--rank", "x"), ("no job",)),
        (("cancel", "last", "--nwo"), ("--nwo",)),
        (("status", "last", "--jsn"), ("--jsn",)),
    ],
)
def test_a_wrong_command(launch: Cli, argv: tuple[str, ...], words: tuple[str, ...]) -> None:
    launch.bench.env('[wandb]\nproject = "x"\n')
    launch.refused(2, argv, *words)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: [1\n", ("t.yaml:2", "not YAML")),
        ("a:\n\tb: 1\n", ("t.yaml:2", "not YAML")),
        ("- a\n", ("t.yaml", "mapping")),
        ("a: 1\na: 2\n", ("t.yaml:2", "'a'")),
        ("a: \x01\n", ("t.yaml",)),
        ("a: &a {b: *a}\n", ("t.yaml",)),
        ("defaults: [nope]\n", ("t.yaml:1", "nope")),
        ("run: {env: 5}\n", ("run.env",)),
        ("a: {0: x, y: z}\na: 1\n", ("t.yaml:2",)),
    ],
)
def test_a_wrong_config(launch: Cli, text: str, words: tuple[str, ...]) -> None:
    launch.bench.config(text)
    launch.refused(2, ("stub", "-c", "t"), *words)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[local\n", ("env.toml", "TOML", "line 1")),
        ("[local]\nnodse = 1\n", ("env.toml", "[local]", "nodse", "'nodes'")),
        ('[local]\nnodes = "x"\n', ("env.toml", "[local]", "nodes", "an integer")),
        ('[local]\nextends = ["a"]\n', ("env.toml", "[local]", "extends")),
        ('[local]\nextends = "a"\n[a]\nextends = "local"\n', ("circle",)),
        ("x = 1\n", ("env.toml", "'x'")),
        ('[local]\nexecutor = "kubernetes"\n', ("kubernetes", "slurm")),
    ],
)
def test_a_wrong_env_toml(launch: Cli, text: str, words: tuple[str, ...]) -> None:
    launch.bench.env(text, local=False)
    launch.refused(2, ("stub",), *words)


@pytest.mark.parametrize("argv", [("stub",), ("stub", "--dry-run"), ("profiles",)])
@pytest.mark.parametrize("by_variable", [True, False])
def test_an_env_toml_that_was_asked_for_and_is_not_there(
    launch: Cli, monkeypatch: pytest.MonkeyPatch, argv: tuple[str, ...], by_variable: bool
) -> None:
    if by_variable:
        monkeypatch.setenv("LAUNCH_ENV", "typo.toml")
        launch.refused(2, argv, "typo.toml")
    else:
        launch.refused(2, (*argv, "--env", "typo.toml"), "typo.toml")


def test_another_env_toml(launch: Cli, tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text('[other]\nextends = "local"\n')
    assert "other" in launch("profiles", "--env", "mine.toml")[1]


@pytest.mark.parametrize(
    ("texts", "words"),
    [
        (("+tokenizer=./no-such-directory",), ("no-tokenizer", "no-such-directory")),
        (("+dataset={_target_: a.NanogptDataset, file_pattern: /no/*.bin}",), ("no-data", "dataset.file_pattern")),
        (
            (
                "+dataset={_target_: a.MegatronPretraining, paths: /no/blend.json, splits_to_build: train,"
                " index_mapping_dir: '${run.dir}/index'}",
            ),
            ("no-data", "/no/blend.json", "data-prep"),
        ),
    ],
)
def test_a_plan_that_a_check_refuses(launch: Cli, texts: tuple[str, ...], words: tuple[str, ...]) -> None:
    if texts[0].startswith("+dataset"):
        texts = ("+recipe=own.Recipe", *texts)
        launch.bench.trains(own_recipe=True)
    launch.refused(3, ("stub", *texts), *words, "--force", "not submitted")
    before = launch.files()
    code, out, _ = launch("stub", *texts, "--dry-run", "--json")
    assert code == 3
    assert [f["level"] for f in json.loads(out)["findings"] if f["code"] != "not-checked"] == ["error"]
    code, out, _ = launch("check", "stub", *texts, "--json")
    assert (code, json.loads(out)["findings"][0]["level"]) == (3, "error")
    assert launch.files() == before


def test_a_port_in_use(launch: Cli) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        launch.refused(3, ("stub", f"run.env.rdzv_port={port}"), "port-in-use", str(port))


def test_a_blend_that_names_missing_files(launch: Cli, tmp_path: Path) -> None:
    (tmp_path / "blend.json").write_text('{"train": ["1.0", "/no/shard"]}')
    value = f"+dataset={{_target_: a.MegatronPretraining, paths: {tmp_path}/blend.json}}"
    launch.bench.trains()
    launch.refused(3, ("stub", "+recipe=own.Recipe", value), "no-data", "/no/shard", "blend.json")


def test_a_dry_run_is_one_document_and_leaves_nothing(launch: Cli) -> None:
    before = launch.files()
    code, out, err = launch("stub", "--dry-run", "--json")
    assert (code, err) == (0, "")
    assert json.loads(out)["run_name"].startswith("stub-default-")
    assert launch("stub", "--dry-run")[0] == 0
    assert launch("check", "stub")[0] == 0
    assert launch.files() == before


def test_options_stand_anywhere(launch: Cli) -> None:
    hashes = set()
    for argv in (
        ("stub", "-c", "default", "--dry-run", "--json", "steps=3", "value=x"),
        ("stub", "steps=3", "--json", "--value", "x", "--dry-run", "-cdefault"),
        ("stub", "--steps=3", "--value=x", "--config=default", "--dry-run", "--json"),
    ):
        document = json.loads(launch(*argv)[1])
        hashes.add(json.dumps(document["config"]))
    assert len(hashes) == 1


def test_listings(launch: Cli) -> None:
    assert launch("recipes")[1].startswith("stub ")
    assert launch("configs", "stub")[1].startswith("default")
    assert "local" in launch("profiles")[1]
    assert "nproc_per_node" in launch("profiles", "local")[1]
    assert json.loads(launch("jobs", "--json")[1]) == []
    assert [row["name"] for row in json.loads(launch("recipes", "--json")[1])] == ["stub"]


@pytest.mark.parametrize("value", ["привет 🎉", "a\\nb"])
def test_stdout_that_is_no_utf8(launch: Cli, value: str) -> None:
    """A log collector's or a cron job's stdout may take ASCII only."""
    code = (
        "import sys; from pathlib import Path; from automodel_launch import workspace\n"
        "from automodel_launch.commands import main as cli\n"
        "workspace.PACKAGE = Path(sys.argv[1]) / 'automodel_launch'; sys.exit(cli.main(sys.argv[2:]))"
    )
    command = [sys.executable, "-c", code, str(launch.bench.root), "stub", "--dry-run", "--json", f"value={value}"]
    env = {**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, env=env, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["config"]["value"] == value


def test_a_python_without_the_dependencies() -> None:
    """-S leaves site-packages out, as in a Python where nothing was installed."""
    done = subprocess.run(
        [sys.executable, "-S", "-E", str(ROOT / "launch.py"), "stub"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "setup.sh" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "option", ["--export", "--export-plain", "--sweep-file", "--sweep", "--after", "--from", "--name"]
)
def test_an_option_without_its_value_is_never_a_launch_without_the_option(launch: Cli, option: str) -> None:
    """`--export "$DIR"` where DIR is not set would train here."""
    for value in ("", " "):
        launch.refused(2, ("stub", option, value), option, "its value is empty")
        launch.refused(2, ("stub", f"{option}={value}"), "its value is empty")
