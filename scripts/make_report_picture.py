"""Takes the picture of docs/report.md from a recorded real run: python -m scripts.make_report_picture [FILE.png]."""

from __future__ import annotations

import shutil
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from playwright.sync_api import sync_playwright

from automodel_launch.jobs.records import Record
from automodel_launch.remote.filesystem import LOCAL
from automodel_launch.report import page, page_data, reading

ROOT = Path(__file__).parent.parent
RECORDED = ROOT / "tests" / "report" / "recorded"
PICTURE = ROOT / "docs" / "report.png"
BROWSER = "chromium-headless-shell"
_SIZE = (1000, 1620)
_MADE = 1795756900.0  # soon after the run's end: the picture is the same each time


def recorded(name: str = "demo", jobs: int = 2) -> page_data.View:
    """The recorded run, which was killed, cancelled and finished."""
    words = dict.fromkeys(("recipe", "config", "profile", "executor", "mode", "plan_hash"), "")
    where = {"job_dir": str(RECORDED / f"{name}.{jobs}"), "run_dir": str(RECORDED / name)}
    record = Record(f"{name}.{jobs}", name, submitted=0.0, max_steps=150, **where, **words)
    files = reading.read(record, LOCAL)
    files.record = replace(record, run_dir=f"runs/{name}")
    return page_data.View(files, "COMPLETED")


def take(text: str, picture: Path, size: tuple[int, int] = _SIZE, dark: bool = False, whole: bool = False) -> None:
    """A picture of a page's text."""
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        file = Path(folder, "report.html")
        file.write_text(text, encoding="utf-8")
        browser = playwright.chromium.launch(executable_path=shutil.which(BROWSER))
        scheme = "dark" if dark else "light"
        tab = browser.new_page(
            viewport={"width": size[0], "height": size[1]}, color_scheme=scheme, timezone_id="UTC", locale="en-US"
        )
        tab.goto(file.as_uri())
        tab.screenshot(path=picture, full_page=whole)
        browser.close()


def main() -> None:
    """Write it."""
    take(page.html(page_data.document([recorded()], _MADE)), Path(sys.argv[1]) if len(sys.argv) > 1 else PICTURE)


if __name__ == "__main__":
    main()
