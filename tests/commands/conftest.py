"""launch.py of a small workspace, called in this process."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from automodel_launch import workspace
from automodel_launch.commands import main
from automodel_launch.jobs import records
from automodel_launch.jobs.records import Record
from tests.workbench import Bench, make_bench


@dataclass
class Cli:
    """launch.py of a workspace, called in this process."""

    bench: Bench
    capsys: pytest.CaptureFixture[str]

    def __call__(self, *argv: str) -> tuple[int, str, str]:
        """Exit code, stdout, stderr."""
        try:
            code = main.main(argv)
        except SystemExit as end:  # argparse's --help
            code = int(end.code or 0)
        said = self.capsys.readouterr()
        return code, said.out, said.err

    def files(self) -> list[Path]:
        """Everything in the workspace."""
        return sorted(self.bench.root.rglob("*"))

    def refused(self, code: int, argv: tuple[str, ...], *words: str) -> str:
        """Run a command that is refused; what it said."""
        before = self.files()
        got, out, err = self(*argv)
        assert (got, out) == (code, ""), err
        assert err.startswith("error: ")
        assert len(err.splitlines()) <= 12
        for word in words:
            assert word in err, f"{word!r} is not in {err!r}"
        assert self.files() == before
        return err

    def hint(self, *argv: str) -> str:
        """The hint of a command that is refused."""
        code, _, err = self(*argv)
        assert code == 2, err
        last = err.splitlines()[-1]
        assert last.startswith("hint: "), err
        return last.removeprefix("hint: ")

    def job(self, number: int = 1, state: str | None = "COMPLETED", logs: dict[int, str] | None = None) -> Record:
        """A job of the run `stub-a` in the records and on disk; without a state it has not ended."""
        root = self.bench.root / "runs"
        record = Record(
            job_id=f"stub-a.{number}",
            run_name="stub-a",
            recipe="stub",
            config="default",
            profile="local",
            executor="local",
            mode="batch",
            job_dir=str(root / f"stub-a.{number}"),
            run_dir=str(root / "stub-a"),
            plan_hash="0" * 64,
            submitted=1000.0 + number,
        )
        folder = Path(record.job_dir, "logs")
        folder.mkdir(parents=True)
        Path(record.run_dir).mkdir(exist_ok=True)
        for rank, text in (logs or {}).items():
            (folder / f"rank-{rank}.log").write_text(text)
        if state:
            end: dict[str, Any] = {"state": state, "code": 0, "ended": 2000.0}
            Path(record.job_dir, "exit.json").write_text(json.dumps(end))
        records.save(self.bench.workspace.records, record)
        return record


@pytest.fixture
def launch(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Cli:
    bench = make_bench(tmp_path)
    monkeypatch.setattr(workspace, "PACKAGE", bench.root / "automodel_launch")
    monkeypatch.delenv("LAUNCH_ENV", raising=False)
    monkeypatch.chdir(tmp_path)
    return Cli(bench, capsys)
