"""Planning and copying 5,000 files of code, against `tar` of the same files.

    python benchmarks/packaging.py [--files N] [--repeat N]

A git checkout with N files of some 3 kB in 100 folders. Timed, the least of the repeats: what the launcher does with
them (list, hash, copy into a job's directory, compare again), by packager, and `tar -c | tar -x` of the same folder.
Prints seconds and the ratio; the project's limit is 2 s for 5,000 files.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from automodel_launch.plan import gitstate, packaging
from automodel_launch.remote.filesystem import LOCAL

LIMIT_S = 2.0
LINE = "value = 'a line of somebody else and of no meaning'\n"


def make(root: Path, files: int) -> None:
    """A checkout of that many files, all committed."""
    (root / "recipes").mkdir(parents=True)
    (root / "recipes" / "stub.py").write_text("pass\n")
    for number in range(files):
        path = root / "my_code" / f"part{number % 100}" / f"file{number}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"# {number}\n" + LINE * 60)
    git = ["git", "-c", "user.name=b", "-c", "user.email=b@example.org", "-c", "gc.auto=0"]
    for command in (["init", "-q"], ["add", "-A"], ["commit", "-q", "-m", "all"]):
        subprocess.run([*git, *command], cwd=root, check=True)


def launch(root: Path, target: Path, packager: str | None) -> None:
    """What a launch does with the files."""
    code = "my_code/**/*.py" if packager == "pattern" else "my_code"
    files = packaging.collect(root / "recipes", root / "recipes" / "stub.py", (), [code], root, packager)
    with packaging.on_disk(files) as sources:
        LOCAL.put(str(target), sources, {})
    packaging.verify(files)


def tar(root: Path, target: Path) -> None:
    """The same copy by tar."""
    target.mkdir(parents=True)
    command = 'set -o pipefail; tar -C "$0" -c recipes my_code | tar -C "$1" -x'
    subprocess.run(["bash", "-c", command, root, target], check=True)


def least(repeat: int, work: Callable[[Path], None], folder: Path) -> float:
    """Least wall-clock seconds of the repeats, each into a new folder."""
    times = []
    for number in range(repeat):
        began = time.perf_counter()
        work(folder / f"{number}")
        times.append(time.perf_counter() - began)
    return min(times)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=5000)
    parser.add_argument("--repeat", type=int, default=3)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-packaging-") as name:
        folder = Path(name)
        root = folder / "checkout"
        make(root, given.files)
        base = least(given.repeat, lambda target: tar(root, target), folder / "tar")
        print(f"{given.files} files\n{'tar':<24} {base:6.2f} s   x {1:5.1f}")
        for packager in (None, "pattern", "git"):
            label = f"packager {packager or 'unset'}"

            def work(target: Path, packager: str | None = packager) -> None:
                launch(root, target, packager)

            seconds = least(given.repeat, work, folder / label)
            print(f"{label:<24} {seconds:6.2f} s   x {seconds / base:5.1f}   limit {LIMIT_S} s: {_kept(seconds)}")
        files = list(root.rglob("*.py"))
        seconds = least(given.repeat, lambda target: _record(root, files), folder)
        print(f"{'git commit, diff, names':<24} {seconds:6.2f} s")


def _record(root: Path, files: list[Path]) -> None:
    gitstate.record(root, files)


def _kept(seconds: float) -> str:
    return "kept" if seconds <= LIMIT_S else "MISSED"


if __name__ == "__main__":
    main()
