"""Runs the trials one after the other, and prints the table: python -m scripts.gpu_trial_lib.trial OUT [--cpu]."""

from __future__ import annotations

import argparse
import json
import sys
import time
from importlib import metadata
from pathlib import Path

from scripts.gpu_trial_lib.place import Place
from scripts.gpu_trial_lib.trials import TRIALS

_PACKAGES = ("torch", "transformers", "triton", "nemo-automodel", "nemo_run")


def main() -> int:
    """0 where every trial held, else 1; table.md and results.json in OUT have the same."""
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=Path)
    parser.add_argument("--cpu", action="store_true")
    parser.add_argument("--only", default="")
    parser.add_argument("--minutes", type=float, default=5.5)
    args = parser.parse_args()
    began = time.monotonic()
    unknown = set(filter(None, args.only.split(","))) - set(TRIALS)
    if unknown:
        sys.exit(f"gpu-trial: --only {', '.join(sorted(unknown))}: there is {', '.join(TRIALS)}")
    place = Place(args.out.absolute(), args.cpu, _card(args.cpu))
    rows = [("machine", "ok", f"{place.gpu}; {_versions()}", 0.0)]
    rows.append(_tried("data", lambda: place.prepare() or "the quickstart's", began, args.minutes))
    for name, trial in TRIALS.items():
        if not args.only or name in args.only.split(","):
            rows.append(_tried(name, lambda trial=trial: trial(place), began, args.minutes))  # type: ignore[misc]
    table = "| trial | held | seen | s |\n|---|---|---|---|\n"
    table += "".join(
        f"| {name} | {held} | {' '.join(seen.split())} | {spent:.0f} |\n" for name, held, seen, spent in rows
    )
    (place.out / "table.md").write_text(table, encoding="utf-8")
    (place.out / "results.json").write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    print(table)
    return 0 if all(held == "ok" for _, held, _, _ in rows) else 1


def _tried(name: str, trial: object, began: float, minutes: float) -> tuple[str, str, str, float]:
    start = time.monotonic()
    if start - began > 60 * minutes:
        return name, "no", "not tried: no time was left", 0.0
    try:
        seen, held = str(trial()), "ok"  # type: ignore[operator]
    except Exception as error:  # whatever it is, the other trials are still of use
        seen, held = f"{type(error).__name__}: {error}", "no"
    print(f"{name}: {held}: {seen}", file=sys.stderr, flush=True)
    return name, held, seen, time.monotonic() - start


def _card(cpu: bool) -> str:
    import torch

    if cpu:
        return "no GPU (--cpu)"
    if not torch.cuda.is_available():
        sys.exit("gpu-trial: torch sees no GPU; --cpu tries without one")
    return str(torch.cuda.get_device_name(0))


def _versions() -> str:
    found = []
    for name in _PACKAGES:
        try:
            found.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            continue
    return ", ".join(found)


if __name__ == "__main__":
    sys.exit(main())
