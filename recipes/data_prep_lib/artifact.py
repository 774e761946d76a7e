"""Lineage: what the output was made of and by, as a versioned manifest that pretraining configs refer to.

    ROOT/NAME/v1/manifest.json   never changed again
    ROOT/NAME/latest -> v1       moved, in one step, when a run is complete

The form is Nemotron's: a config says `run.data: NAME:latest` and `${art:data,path}`. A run that makes what a version
describes already makes no new one.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import contract

from data_prep_lib import latest
from data_prep_lib.config import Artifact
from data_prep_lib.hashes import fingerprint
from data_prep_lib.layout import Layout
from data_prep_lib.safe_files import read_json, write_json

_FROM_RECORD = (
    "tokenizer",
    "dtype",
    "counts",
    "skipped",
    "short",
    "blank",
    "lost",
    "special_tokens",
    "config",
    "versions",
)


def publish(artifact: Artifact, layout: Layout, identity: Any, inputs: Iterable[Any]) -> tuple[Path, bool]:
    """The version's directory, and whether it is new. `inputs` is read only for a new one: hashing may take a while."""
    folder = artifact.root / artifact.name
    made_by = fingerprint([str(layout.root), identity, read_json(layout.blend)])
    known = _versions(folder)
    found = next((v for v in reversed(known) if (_manifest(folder, v) or {}).get("made_by") == made_by), None)
    version = found if found is not None else _write(folder, layout, made_by, list(inputs), max(known, default=0) + 1)
    latest.replace_link(folder / "latest", f"v{version}")
    return folder / f"v{version}", found is None


def _versions(folder: Path) -> list[int]:
    return sorted(int(p.name[1:]) for p in folder.glob("v*") if re.fullmatch(r"v[1-9]\d*", p.name))


def _manifest(folder: Path, version: int) -> dict[str, Any] | None:
    found = read_json(folder / f"v{version}" / "manifest.json")
    return found if isinstance(found, dict) else None


def _write(folder: Path, layout: Layout, made_by: str, inputs: list[Any], version: int) -> int:
    """A directory appears under its version's name with its manifest in it; another run may have taken the number."""
    record = read_json(layout.record)
    manifest = {
        "schema": 1,
        "type": "dataset",
        "name": folder.name,
        "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "made_by": made_by,
        "path": str(layout.root),
        "blend": str(layout.blend) if layout.blend.exists() else None,
        "format": record["config"]["format"],
        **{key: record[key] for key in _FROM_RECORD},
        "weights": {source["name"]: source["weight"] for source in record["sources"]},
        "inputs": inputs,
        "command": sys.argv,
        "job": os.environ.get(contract.JOB_ID_VAR),
        "git": git_state(os.environ),
    }
    temporary = folder / f".{os.uname().nodename}.{os.getpid()}.tmp"
    while True:
        write_json(temporary / "manifest.json", {**manifest, "version": f"v{version}"})
        try:
            temporary.rename(folder / f"v{version}")  # fails on a directory that is not empty
        except OSError:
            if not (folder / f"v{version}").exists():
                raise
            version += 1
        else:
            return version


def describe_inputs(
    files: Sequence[tuple[str, Any]], parts: Mapping[str, Sequence[tuple[int, int, str]]]
) -> Iterable[dict[str, Any]]:
    """Each input: dataset, path, bytes and sha256, of the complete file where one shard read it, else of its parts.

    `parts`: path -> (first byte, last byte + 1, sha256), in order; none where only a part of the input was wanted.
    """
    for dataset, file in files:
        found = parts.get(file.path, ())
        entry: dict[str, Any] = {"dataset": dataset, "path": file.path, "bytes": file.size}
        entry["sha256"] = file.sha256 or (found[0][2] if len(found) == 1 else None)
        if file.version:
            entry["version"] = file.version
        if len(found) > 1:
            entry["sha256_of_parts"] = [list(part) for part in found]
        yield entry


def git_state(environ: Mapping[str, str]) -> dict[str, Any] | None:
    """The commit behind the code, and whether there was uncommitted work: from the launcher, which knows, else git."""
    job = Path(environ.get(contract.JOB_DIR_VAR, "/nonexistent"))
    commit_file, diff = job / contract.GIT_COMMIT, job / contract.GIT_DIFF
    if commit_file.is_file():
        return {
            "commit": commit_file.read_text().strip(),
            "uncommitted": diff.is_file() and diff.stat().st_size > 0,
            "diff": str(diff) if diff.is_file() else None,
        }
    commit, changed = _git("rev-parse", "--verify", "HEAD"), _git("status", "--porcelain", "--untracked-files=no")
    return {"commit": commit, "uncommitted": bool(changed), "diff": None} if commit else None


def _git(*command: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "--no-optional-locks", *command],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            timeout=10,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def log_to_wandb(settings: Mapping[str, Any], version: Path) -> str:
    """Log a version as a W&B artifact, if wandb is there; what to say of it. The data are complete without it."""
    try:
        import wandb  # type: ignore[import-not-found, unused-ignore]
    except ImportError:
        return "wandb: the package is not installed, so the artifact was not logged; pip install wandb"
    manifest = read_json(version / "manifest.json")
    small = {key: manifest[key] for key in ("path", "format", "tokenizer", "counts", "git", "version")}
    try:
        run = wandb.init(job_type="data-prep", config=manifest["config"], **settings)
        artifact = wandb.Artifact(manifest["name"], type="dataset", metadata=small)
        artifact.add_file(str(version / "manifest.json"))
        artifact.add_reference(f"file://{manifest['path']}", checksum=False)  # the data stay where they are
        run.log_artifact(artifact)
        run.finish()
    except Exception as e:  # no network, no key, a full quota: wandb has many, and none of them spoils the data
        return f"wandb: the artifact was not logged: {(str(e) or type(e).__name__).splitlines()[0]}"
    return f"wandb: logged the artifact {manifest['name']}"
