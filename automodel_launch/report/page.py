"""The page: one HTML file that holds its data, its script and its styles, and asks for nothing else."""

from __future__ import annotations

import json
import math
from importlib import resources
from typing import Any

from automodel_launch.report.reading import Json

GENERATOR = '<meta name="generator" content="automodel-launch report">'
_ESCAPED = str.maketrans({"<": "\\u003c", ">": "\\u003e", "&": "\\u0026"})
_PARTS = {
    "UPLOT_CSS": "vendor/uplot/uPlot.min.css",
    "UPLOT_LICENSE": "vendor/uplot/LICENSE",
    "UPLOT_JS": "vendor/uplot/uPlot.iife.min.js",
    "CSS": "assets/page.css",
    "FORMAT_JS": "assets/format.js",
    "CHARTS_JS": "assets/charts.js",
    "PAGE_JS": "assets/page.js",
}


def html(data: Json) -> str:
    """The whole text; a number that JSON has not is null there."""
    values = {name: _file(path) for name, path in _PARTS.items()} | {"DATA": embedded(data), "GENERATOR": GENERATOR}
    pieces = _file("assets/page.html").split("@@")  # every other one is a name
    return "".join(values[piece] if index % 2 else piece for index, piece in enumerate(pieces))


def embedded(data: Json) -> str:
    """JSON that no text within it can end the script element of, nor begin a comment in."""
    try:
        text = json.dumps(data, allow_nan=False, separators=(",", ":"))
    except ValueError:  # in what a job has written: `NaN`, which Python reads, or 1e999
        text = json.dumps(_finite(data), allow_nan=False, separators=(",", ":"))
    return text.translate(_ESCAPED)


def _finite(data: Any) -> Any:
    if isinstance(data, dict):
        return {key: _finite(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [_finite(value) for value in data]
    return None if isinstance(data, float) and not math.isfinite(data) else data


def _file(path: str) -> str:
    return resources.files("automodel_launch.report").joinpath(path).read_text(encoding="utf-8")
