"""The page in headless Chromium: it draws, tells values, toggles, complains of nothing and asks for nothing."""

from __future__ import annotations

import copy
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from automodel_launch.report import page, page_data
from tests.conftest import LIMIT_S
from tests.report.test_page_data import NASTY, logged, view

sync_api = pytest.importorskip("playwright.sync_api")
BROWSER = shutil.which("chromium-headless-shell")


@dataclass
class Tab:
    """A page that was opened: what it asked for, and what it complained of."""

    page: Any
    asked: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def show(self, folder: Path, *views: page_data.View) -> None:
        """Open the page of these runs."""
        file = folder / "page.html"
        file.write_text(page.html(page_data.document(views, 1795756900.0)), encoding="utf-8")
        self.page.goto(file.as_uri())

    def drawn(self, chart: str) -> int:
        """Pixels of a chart's canvas that are not empty."""
        script = """name => { const c = document.querySelector(`[data-chart=${name}] canvas`);
            const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data;
            let n = 0; for (let i = 3; i < d.length; i += 4) n += d[i] > 0; return n; }"""
        return int(self.page.evaluate(script, chart))

    def until(self, condition: str) -> None:
        """Wait for it; wait_for_function would evaluate within the page, which its security policy forbids."""
        for _ in range(int(LIMIT_S / 0.02)):
            if self.page.evaluate(condition):
                return
            self.page.wait_for_timeout(20)
        raise AssertionError(f"never: {condition}")

    def legend(self, chart: str) -> dict[str, str]:
        """Names and values below a chart."""
        rows = self.page.query_selector_all(f"[data-chart={chart}] .u-legend .u-series")
        return {r.query_selector("th").inner_text().rstrip(":"): r.query_selector("td").inner_text() for r in rows}


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    if BROWSER is None:
        assert not os.environ.get("CI"), "chromium-headless-shell is missing: scripts/install-test-system.sh"
        pytest.skip("needs chromium-headless-shell: scripts/install-test-system.sh")
    with sync_api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=BROWSER, timeout=1000 * LIMIT_S)
        yield started
        started.close()


@pytest.fixture
def tab(browser: Any) -> Iterator[Tab]:
    context = browser.new_context(viewport={"width": 1440, "height": 900}, color_scheme="light")
    context.set_default_timeout(1000 * LIMIT_S)
    opened = Tab(context.new_page())
    opened.page.on("request", lambda request: opened.asked.append(request.url))
    opened.page.on("console", lambda message: opened.complaints.append(message.text))
    opened.page.on("pageerror", lambda error: opened.complaints.append(str(error)))
    yield opened
    assert opened.complaints == []
    assert [url for url in opened.asked if not url.startswith(("file:", "data:"))] == []
    context.close()


def test_it_draws_hovers_and_toggles(tab: Tab, tmp_path: Path) -> None:
    tab.show(tmp_path, view())
    assert all(tab.drawn(chart) > 500 for chart in ("loss", "tps", "grad_norm", "lr"))
    assert tab.page.title() == "demo"
    over = tab.page.query_selector("[data-chart=loss] .u-over")
    over.hover(position={"x": over.bounding_box()["width"] - 1, "y": 50})
    assert tab.legend("loss")["Steps"] == "149"
    assert float(tab.legend("loss")["train"]) == pytest.approx(view_last_loss(), rel=1e-4)
    assert tab.legend("lr")["Steps"] == "149"  # the charts share a cursor
    tab.page.click("#t-smooth")
    assert set(tab.legend("loss")) == {"Steps", "train", "validation"}
    tab.page.click("#t-raw")
    assert set(tab.legend("loss")) == {"Steps", "validation"}
    tab.page.click("#t-smooth")
    tab.page.click("label[for=x-tokens]")
    assert next(iter(tab.legend("loss"))) == "Tokens"
    before = tab.page.query_selector("[data-chart=loss] canvas").screenshot()
    tab.page.click("#t-log")
    assert tab.page.query_selector("[data-chart=loss] canvas").screenshot() != before
    tab.page.focus("[data-chart=loss] .u-series:nth-child(2) th")
    tab.page.keyboard.press("Enter")
    assert tab.page.query_selector_all("[data-chart=loss] .u-series.u-off")


def view_last_loss() -> float:
    (run,) = page_data.document([view()], 1.0)["runs"]
    return float(run["last"]["loss"])


def test_light_dark_and_a_narrow_screen(tab: Tab, tmp_path: Path) -> None:
    tab.show(tmp_path, view())
    colour = "getComputedStyle(document.body).backgroundColor"
    light = tab.page.evaluate(colour)
    tab.page.click("#theme")
    assert tab.page.evaluate(colour) != light
    tab.page.click("#theme")
    assert tab.page.evaluate(colour) == light
    tab.page.emulate_media(color_scheme="dark")
    tab.until("document.documentElement.dataset.theme === 'dark'")
    assert tab.page.evaluate(colour) != light
    tab.page.set_viewport_size({"width": 390, "height": 844})
    tab.until("document.querySelector('[data-chart=loss] .uplot').clientWidth < 390")
    tab.until("document.documentElement.scrollWidth <= 390")


def test_several_runs_and_nasty_words(tab: Tab, tmp_path: Path) -> None:
    other = copy.deepcopy(view())
    other.files.name = NASTY
    other.files.attempts[0]["error"] = NASTY
    other.files.jobs[1].plan = {"nodes": 4, "config": {"key": NASTY}}
    tab.show(tmp_path, view(), other)
    assert tab.page.title() == "2 runs"
    assert NASTY in tab.page.inner_text("#differences")
    assert NASTY in tab.page.inner_text("#attempts")
    assert f"{NASTY} · train, smoothed" in tab.legend("loss")
    assert tab.drawn("loss") > 500


@pytest.mark.parametrize("steps", [0, 1, 2])
def test_runs_with_hardly_a_step(tab: Tab, tmp_path: Path, steps: int) -> None:
    losses = [1.5, None]
    tab.show(tmp_path, logged(tmp_path, [{"step": s, "time": 5.0 + s, "loss": losses[s]} for s in range(steps)]))
    assert ("No step was logged yet" in tab.page.inner_text("#charts")) == (steps == 0)
    if steps:
        assert tab.drawn("loss") > 100
        tab.page.click("#t-log")
        assert tab.drawn("loss") > 100


def test_a_page_that_is_written_again_is_looked_at_again(tab: Tab, tmp_path: Path) -> None:
    """With the axis that was chosen; not while somebody has zoomed; and not once it is complete."""
    noted = "window.real = setTimeout; window.waits = []"  # the page's own look, 5 s later, may come before this one's
    kept = "waits.push(ms); return ms < 5000 ? real(f, ms) : 0;"
    tab.page.add_init_script(f"{noted}; window.setTimeout = (f, ms) => {{ {kept} }}")
    file = tmp_path / "page.html"
    file.write_text(page.html(page_data.document([view()], 1795756900.0, again_s=1000)), encoding="utf-8")
    tab.page.goto(file.as_uri())
    assert "and again every 16 min" in tab.page.inner_text("#subtitle")
    assert 1001000 in tab.page.evaluate("waits")
    tab.page.evaluate("state.x = 'time'; redraw(); plots[0].setScale('x', { min: 0.001, max: 0.002 })")
    tab.page.evaluate("lookAgain()")
    assert 5000 in tab.page.evaluate("waits")  # somebody is at it
    tab.page.evaluate("redraw()")
    tab.page.evaluate("dispatchEvent(new PointerEvent('pointermove'))")  # as Chromium tells of a mouse that rests
    file.write_text(page.html(page_data.document([view()], 1795756910.0)), encoding="utf-8")
    with tab.page.expect_navigation():
        tab.page.evaluate("real(lookAgain)")
    assert "again" not in tab.page.inner_text("#subtitle")
    assert tab.page.is_checked("#x-time")
    assert next(iter(tab.legend("loss"))) == "Hours"
    assert 1001000 not in tab.page.evaluate("waits")


def test_many_runs_are_told_in_rows(tab: Tab, tmp_path: Path) -> None:
    views = [copy.deepcopy(view()) for _ in range(5)]
    for number, each in enumerate(views):
        each.files.name = f"run-{number}"
        each.files.jobs[-1].plan = {"config": {"optimizer": {"lr": number / 10}}}
        each.files.jobs[-1].notes = {"findings": [{"level": "note", "code": "x", "message": NASTY, "fix": "a=b"}]}
    tab.show(tmp_path, *views)
    rows = [row.inner_text().split("\t") for row in tab.page.query_selector_all("#differences tr")]
    assert rows[0][:2] == ["Run", "optimizer.lr"]
    assert [row[:2] for row in rows[1:]] == [[f"run-{n}", f"{n / 10:g}"] for n in range(5)]
    spent = sum(run["goodput"]["hours"] for run in page_data.document(views, 1.0)["runs"])
    assert tab.page.inner_text("#cost p").startswith(f"Together {spent:.3g} process-hours, 74% of them")
    assert len(tab.page.query_selector_all("#cost .bar")) == 5
    assert len(tab.page.query_selector_all("#attempts details:not([open])")) == 5
    tab.page.click("#findings details summary")
    assert NASTY in tab.page.inner_text("#findings")
    tab.page.set_viewport_size({"width": 390, "height": 844})
    tab.until("document.querySelector('[data-chart=loss] .uplot').clientWidth < 390")
    tab.until("document.documentElement.scrollWidth <= 390")


def test_ranks_by_samples(tab: Tab, tmp_path: Path) -> None:
    plain = logged(tmp_path, [{"step": 0, "time": 1.0, "loss": 2.0}])
    tab.show(tmp_path, plain)
    assert tab.page.query_selector("#s-ranks") is None
    told = {"time": 5.0, "step": 10, "step_s": 0.5, "median_s": 0.1, "ranks": [[0, 0.1], [1, 0.4]]}
    plain.files.jobs[0].rank_times = (json.dumps(told) + "\n").encode()
    tab.show(tmp_path, plain)
    rows = [row.inner_text().split("\t") for row in tab.page.query_selector_all("#ranks tr")]
    assert [[cell.strip() for cell in row] for row in rows] == [
        *(["Rank", "Step 10"], ["0", "0.1"], ["1", "0.4"], ["Whole step", "0.5"])
    ]
    colours = [
        cell.evaluate("e => getComputedStyle(e).backgroundColor") for cell in tab.page.query_selector_all(".heat")
    ]
    assert colours[0] != colours[1]
    for width in (1440, 390):
        tab.page.set_viewport_size({"width": width, "height": 900})
        tab.until(f"document.documentElement.scrollWidth <= {width}")


def test_evaluations_and_phases_have_marks_and_words(tab: Tab, tmp_path: Path) -> None:
    seen = copy.deepcopy(view())
    seen.phases = [("web", 0, 79), (NASTY, 80, 149)]
    tab.show(tmp_path, seen)
    marked = tab.drawn("loss")
    assert f"web, steps 0 to 79; {NASTY}, steps 80 to 149" in tab.page.inner_text("[data-chart=loss] .phases")
    for axis in ("tokens", "time"):
        tab.page.click(f"label[for=x-{axis}]")
    seen.phases = []
    tab.show(tmp_path, seen)
    assert marked > tab.drawn("loss") and not tab.page.query_selector("#t-evaluation, .phases")
    results = [("default", 6.5), (NASTY, 7.0)]
    seen.files.evaluations = [{"step": s, "name": n, "data": "", "loss": v} for s in (24, 149) for n, v in results]
    saved = {"name": "epoch_0_step_24", "complete": True, "path": "/c"}
    seen.files.checkpoints = [{**saved, "step": 24}, {**saved, "step": 99}]
    tab.show(tmp_path, seen)
    assert {"evaluation", f"evaluation {NASTY}"} < set(tab.legend("loss"))
    assert f"6.5, {NASTY} 7" in tab.page.inner_text("#checkpoints")
    tab.page.click("#t-evaluation")
    assert not [name for name in tab.legend("loss") if "evaluation" in name]
