"""The data file is what the installed AutoModel says, and quick to read."""

from __future__ import annotations

import subprocess
import sys

from automodel_launch.backends.automodel import keys, loader
from automodel_launch.backends.automodel import schema as schemas
from automodel_launch.backends.automodel.schema import renamed
from tests.conftest import ROOT, clean_environ


def test_the_file_is_what_the_script_writes_now() -> None:
    """In a process of its own: the script imports every module of AutoModel."""
    command = [sys.executable, str(ROOT / "scripts" / "make_automodel_schema.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=clean_environ())
    assert done.returncode == 0, done.stderr[-2000:]


def test_look_ups() -> None:
    schema = schemas.load()
    assert schema.exists("nemo_automodel.NeMoAutoModelForCausalLM.from_pretrained")
    assert schema.exists("nemo_automodel.models.gpt2.build_gpt2_model")
    assert schema.exists("nemo_automodel.components.datasets.audio.datasets.make_cv17_dataset")  # known by name only
    assert not schema.exists("nemo_automodel.components.models.gpt3.build")
    assert not schema.exists("nemo_automodel.components.loss.masked_ce")  # a module is nothing to call
    assert schema.target("nemo_automodel.components.datasets.audio.datasets.make_cv17_dataset") is None
    top = schema.top(loader.RECIPE)
    assert top is not None
    assert set(keys.SECTIONS) < set(top)
    assert set(renamed.RECIPES.values()) <= set(schema.data["recipes"])
    recipe = (ROOT / "recipes" / "pretrain_lib" / "recipe_class.py").read_text(encoding="utf-8")
    assert all(f'"{old}": "{new}"' in recipe for old, new in renamed.RECIPES.items())


def test_help_does_not_read_it() -> None:
    program = (
        "import sys\nfrom automodel_launch.commands import main as cli\n"
        "sys.addaudithook(lambda e, a: e == 'open' and 'automodel-0' in str(a[0]) and sys.exit('read'))\n"
        "cli.main(['--help'])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert "automodel_launch.backends.automodel.schema" not in done.stdout
