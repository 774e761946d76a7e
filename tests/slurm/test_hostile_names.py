"""Values with quotes, `$`, `;`, line breaks and /nemo_run in real jobs: carried exactly, or refused before that."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest

from tests.slurm import probe
from tests.slurm.cluster import Cluster

pytestmark = [pytest.mark.slurm, pytest.mark.e2e]

NASTY = "a b'c\"d$HOME ${X};e\nf /nemo_run `touch owned` $(touch owned) \\n \\ #SBATCH --x=1 \u00e9\u2028%j {{y}} & | <"


def test_every_kind_of_value_is_carried_exactly(tmp_path: Path, cluster: Cluster) -> None:
    """One job with all of them: config, override, env_vars, env, paths of recipe, config, code and data."""
    plain = NASTY.replace("${X}", "")  # in a config it is a reference, and one to nothing is refused
    plain_text = json.dumps(plain)  # a TOML basic string and a YAML double-quoted one as well
    odd = "odd 'dir\" $HOME;x"
    more = f"""
data_dir = {json.dumps("/" + plain)}
code = [{json.dumps(odd)}]
env = ["FORWARDED"]
network = "a b;$HOME#c"
srun_args = ["--comment=a b'c;$HOME `touch owned`"]
startup_commands = [{json.dumps("X=" + shlex.quote(plain))}, "export X"]
env_vars = {{V = {plain_text}}}
"""
    checkout = probe.site(tmp_path, cluster, more, name="check out's $x;")
    checkout.environ |= {"FORWARDED": NASTY}
    code = checkout.root / odd
    code.mkdir()
    (code / "it's $a.py").write_text("def build():\n    return __file__\n")
    recipe = tmp_path / "my recipe's $x;.py"
    recipe.write_text(probe.recipe("torchrun"))
    config = tmp_path / "my config's $x;.yaml"
    defaults = {
        **probe.CONFIG,
        "values": {"config": plain, "data": "${run.data_dir}", "override": None},
        "env": ["V", "X", "FORWARDED"],
    }
    config.write_text(json.dumps(defaults))
    target = f"{odd}/it's $a.py:build"
    done = checkout.run(
        *(str(recipe), "-c", str(config), "--run", "c", "--offline", "--name", "odd", "run.env.nodes=1"),
        *(f"values.override={plain_text}", f"target={json.dumps(target)}"),
    )
    told = probe.told(done)
    assert told["values"] == {"config": plain, "data": f"/{plain}", "override": plain}
    assert told["env"] == {"V": plain, "X": plain, "FORWARDED": NASTY}
    assert told["script"] == recipe.name
    assert told["built"].endswith(f"{odd}/it's $a.py")
    assert not [path for path in probe.below(tmp_path, cluster.dir) if path.name == "owned"]
    slurm_id = checkout.json("status", "last")["handle"]["slurm_id"]
    script = cluster.check("scontrol", "write", "batch_script", slurm_id, "-")
    assert script == Path(checkout.json("status", "last")["job_dir"], "script").read_text()
    assert script.count("owned") == 1, "the word of srun_args, quoted"
    assert "Network=a b;$HOME#c" in cluster.check("scontrol", "show", "job", slurm_id)
    assert cluster.job(int(slurm_id))["JobState"] == "COMPLETED"


@pytest.mark.parametrize(
    ("line", "word"),
    [
        ('account = "a\\n#SBATCH --uid=0"', "account"),
        ('constraint = "gpu\\ntouch owned"', "constraint"),
        ('additional_parameters = {"mail-user" = "a\\nb"}', "additional_parameters"),
        ('additional_parameters = {"x\\ntouch owned" = "b"}', "additional_parameters"),
        ('srun_args = ["--x\\ntouch owned"]', "srun_args"),
        ('qos = "/nemo_run"', "qos"),
    ],
)
def test_what_a_script_cannot_carry_is_refused(tmp_path: Path, cluster: Cluster, line: str, word: str) -> None:
    checkout = probe.site(tmp_path, cluster, line + "\n")
    done = checkout.run("probe", "--batch", "c", "--offline", "--force")
    assert done.returncode == 2, done.stderr
    assert word in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.glob("jobs/*"))


@pytest.mark.parametrize("name", ["a b", "a;b", "a/b", "a\nb", "$x", "-x", "a'b", "ä"])
def test_names_of_runs_are_plain(tmp_path: Path, cluster: Cluster, name: str) -> None:
    checkout = probe.site(tmp_path, cluster)
    done = checkout.run("probe", "--batch", "c", "--offline", f"--name={name}")
    assert done.returncode == 2, done.stderr
    assert "--name" in done.stderr
