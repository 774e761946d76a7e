"""`profiles` and `configs`: what there is to choose from."""

from __future__ import annotations

import json

from tests.commands.conftest import Cli

TABLES = """
env_vars = { A = "1", B = "1" }

[child]
extends = "local"
nodes = 1

[child.env_vars]
B = "2"

[empty]
extends = "local"
env_vars = {}
"""


def test_each_entry_of_a_table_has_its_own_source(launch: Cli) -> None:
    launch.bench.env(TABLES)
    lines = launch("profiles", "child")[1].splitlines()
    assert "env_vars.A = '1'    # env.toml [local]" in lines
    assert "env_vars.B = '2'    # env.toml [child]" in lines
    assert "nodes = 1           # env.toml [child]" in lines
    assert "several" not in "".join(lines)
    assert "env_vars.A = '1'    # env.toml [local]" in launch("profiles", "empty")[1]


def test_a_table_that_is_empty(launch: Cli) -> None:
    launch.bench.env("env_vars = {}\n")
    code, out, _ = launch("profiles", "local")
    assert code == 0 and "nproc_per_node" in out


def test_profiles_as_data(launch: Cli) -> None:
    launch.bench.env(TABLES)
    assert [row["name"] for row in json.loads(launch("profiles", "--json")[1])] == ["child", "empty", "local"]
    document = json.loads(launch("profiles", "child", "--json")[1])
    assert document["values"]["env_vars"] == {"A": "1", "B": "2"}


def test_profiles_for_other_executors_are_listed_as_such(launch: Cli) -> None:
    launch.bench.env(f'{TABLES}[rented]\nexecutor = "lepton"\napp_secret = "not-told"\n')
    code, out, _ = launch("profiles")
    assert code == 0
    rented, local = (next(line for line in out.splitlines() if line.startswith(name)) for name in ("rented", "local"))
    assert "lepton" in rented and "not one of this launcher's executors" in rented
    assert "not one of" not in local
    assert "not-told" not in out + launch("profiles", "--json")[1]
    for words in (["profiles", "rented"], ["doctor", "rented"], ["stub", "--batch", "rented"]):
        code, out, err = launch(*words)
        assert code == 2 and "[rented]: executor = 'lepton'" in err and "child" in err
        assert "not-told" not in out + err


def test_configs_of_all_recipes(launch: Cli) -> None:
    launch.bench.config("# A small one\nsteps: 1\n", "small")
    launch.bench.script("other", '[tool.runspec]\n[tool.runspec.config]\ndir = "stub"')
    rows = [line.split(maxsplit=2) for line in launch("configs")[1].splitlines()]
    assert [row[:2] for row in rows] == [[r, c] for r in ("other", "stub") for c in ("default", "small")]
    assert rows[1][2] == "A small one"
    assert launch("configs", "stub")[1].splitlines()[1].split(maxsplit=1) == ["small", "A small one"]
    assert {row["recipe"] for row in json.loads(launch("configs", "--json")[1])} == {"other", "stub"}


def test_a_config_is_told_by_the_first_sentence_of_its_head(launch: Cli) -> None:
    heads = {
        "a": "# Llama 3.1 8B on two nodes, and\n# so on. The rest.\n",
        "b": "# A name alone\n# Estimated: 4 M.\n",
        "c": "# It trains; the\n# rest.\n",
        "d": "# Minutes on two cores.\n",
        "e": "# One\n#\n# two\n",
        "f": "",
    }
    for name, head in heads.items():
        launch.bench.config(f"{head}steps: 1\n", name)
    told = {row["name"]: row["docs"] for row in json.loads(launch("configs", "stub", "--json")[1])}
    assert [told[name] for name in heads] == [
        *("Llama 3.1 8B on two nodes, and so on", "A name alone", "It trains", "Minutes on two cores", "One", ""),
    ]
