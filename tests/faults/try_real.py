"""Tries faulty launches on the real part, without any of the launcher's checks, and writes down what that did.

    nice python -m tests.faults.try_real tests/faults/NAME.yaml ...          prints what happened
    nice python -m tests.faults.try_real --write tests/faults/NAME.yaml ...  and puts it into the files, as `tried`

It is a tool and no test. A file's `part` says what is tried:

    automodel   recipes/pretrain.py with the resolved config, on `ranks` ranks (2) over gloo; where the launcher refuses
                to resolve it, the config is composed without it, as AutoModel's user would write it
    megatron-bridge   the recipe of the config, to which Megatron-Bridge itself applies the rest of it, on 2 ranks over
                gloo; with more `ranks` only what it checks before it starts (needs .venv-bridge, or BRIDGE_PYTHON)
    nemo-run    nemo_run.SlurmExecutor of the profile's keys, as a person writes them, and a dry run of an Experiment:
                the lines of the batch script that these keys change
    packager    the packager that the profile names, on the files of the launch: what the archive holds
    slurm       the plan as it is, submitted with --force to a cluster of scripts/slurm-cluster (needs root and
                scripts/install-test-system.sh): sbatch --test-only's words, and what became of the job
    none        nothing: `tried` is written by hand, and says why this machine cannot try it

A try of `automodel` takes a few seconds, after 15 s for the first one's imports.
"""

from __future__ import annotations

import argparse
import re
import tempfile
from collections.abc import Callable
from pathlib import Path

import yaml

from tests.faults import launches, real_automodel, real_bridge, real_nemo_run, real_slurm
from tests.faults.launches import ROOT, Launch, Stage


def main() -> None:
    """Try the files, one after the other."""
    parser = argparse.ArgumentParser(description="Try faulty launches on the real part.")
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--write", action="store_true", help="put the result into the file, as its last key `tried`")
    parser.add_argument("--output", action="store_true", help="print all that was said")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="try-real-") as folder:
        Path(folder).chmod(0o755)
        shared = launches.share(Path(folder))
        for path in options.files:
            launch = launches.read(path)
            stage = Stage(Path(folder) / launch.name, *shared)
            launches.set_up(launch, stage)
            real_slurm.answers.clear()
            by, said = _PARTS[launch.part](launch, stage)
            whole = said.replace(str(stage.here), "HERE").replace(folder, "").replace(str(ROOT) + "/", "")
            print(f"{launch.name}: {by}: {whole if options.output else telling(whole)}", flush=True)
            if options.write:
                write(path, by, telling(whole))


def telling(said: str) -> str:
    """A result in one line, and not too long a one."""
    line = " ".join(said.split())
    return line if len(line) <= 500 else f"{line[:500]} ..."


def write(path: Path, by: str, said: str) -> None:
    """Replace what stands behind `tried:` in a file, and Slurm's refusal before it."""
    head = re.split(r"^(?:recorded|tried):", path.read_text(), maxsplit=1, flags=re.M)[0]
    content = {"recorded": dict(real_slurm.answers)} if real_slurm.answers else {}
    content["tried"] = {"by": by, "said": said}
    body = yaml.safe_dump(content, width=110, allow_unicode=True, sort_keys=False)
    path.write_text(head + body)


def _none(launch: Launch, stage: Stage) -> tuple[str, str]:
    raise SystemExit(f"{launch.name}: cannot be tried here; its `tried` is written by hand")


_PARTS: dict[str, Callable[[Launch, Stage], tuple[str, str]]] = {
    "automodel": real_automodel.try_automodel,
    "megatron-bridge": real_bridge.try_bridge,
    "nemo-run": real_nemo_run.try_nemo_run,
    "packager": real_nemo_run.try_packager,
    "slurm": real_slurm.try_slurm,
    "none": _none,
}

if __name__ == "__main__":
    main()
