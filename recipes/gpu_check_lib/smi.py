"""nvidia-smi -q -x -> numbers.

The XML form, because a tag that a driver does not have is missing there, while --query-gpu refuses the complete query.
Tags: those of drivers 450 to 580. `clocks_throttle_reasons` has become `clocks_event_reasons` (535); counters of ECC
errors lie below `volatile` as `..._uncorrectable...`, before Turing as `double_bit/total`; `retired_pages` are of GPUs
before Ampere, `remapped_rows` of later ones; `gpu_recovery_action` since 550.
"""

from __future__ import annotations

import re
import subprocess
import xml.etree.ElementTree as ET
from typing import Any

from gpu_check_lib.bounded import Calls

COMMAND = ("nvidia-smi", "-q", "-x")


def start(limit_s: float) -> Calls:
    """Ask nvidia-smi, as PATH finds it; it may hang with its driver."""
    return Calls({"smi": ask}, limit_s)


def answer(calls: Calls, limit_s: float) -> dict[str, Any]:
    """{"found": is there an nvidia-smi, "error": None or its output, "driver", "gpus": [...]}."""
    late = {"found": True, "error": f"nvidia-smi: no answer within {limit_s:g} s", "driver": None, "gpus": []}
    found: dict[str, Any] = calls.results().get("smi", late)
    return found


def ask() -> dict[str, Any]:
    """The same, waiting for it."""
    nothing: dict[str, Any] = {"found": False, "error": None, "driver": None, "gpus": []}
    try:
        done = subprocess.run(COMMAND, capture_output=True, text=True, errors="replace", check=False)
    except FileNotFoundError:
        return nothing
    except OSError as error:
        return {**nothing, "found": True, "error": f"nvidia-smi: {error.strerror}"}
    output = " ".join((done.stderr + " " + ("" if "<" in done.stdout else done.stdout)).split())[:300]
    try:
        found = read(done.stdout)
    except ET.ParseError as error:
        return {**nothing, "found": True, "error": f"nvidia-smi: {output or error}"}
    failed = f"nvidia-smi: {output or f'exit code {done.returncode}'}" if done.returncode else None
    return {"found": True, "error": failed, **found}


def read(text: str) -> dict[str, Any]:
    """The driver's version, and a mapping for each GPU; None stands for what the driver or the GPU does not tell.

    Raises:
        ParseError: it is no XML.
    """
    root = ET.fromstring(text)
    return {"driver": root.findtext("driver_version"), "gpus": [_gpu(gpu) for gpu in root.iter("gpu")]}


def _gpu(gpu: ET.Element) -> dict[str, Any]:
    return {
        "bus": gpu.get("id") or gpu.findtext("pci/pci_bus_id"),
        "name": gpu.findtext("product_name"),
        "persistence": _switch(gpu.findtext("persistence_mode")),
        "ecc_uncorrected": _uncorrected(gpu.find("ecc_errors/volatile")),
        "sram_threshold": _yes(gpu.findtext("ecc_errors/aggregate/sram_threshold_exceeded")),
        "pending": _yes(gpu.findtext("remapped_rows/remapped_row_pending"))
        or _yes(gpu.findtext("retired_pages/pending_retirement"))
        or _yes(gpu.findtext("retired_pages/pending_blacklist")),
        "remap_failure": _yes(gpu.findtext("remapped_rows/remapped_row_failure")),
        "retired": _sum(gpu.find("retired_pages"), r"retired_count"),
        "recovery": _telling(gpu.findtext("gpu_recovery_action")),
        "temperature": _number(gpu.findtext("temperature/gpu_temp")),
        "sm_mhz": _number(gpu.findtext("clocks/sm_clock")),
        "max_sm_mhz": _number(gpu.findtext("max_clocks/sm_clock")),
        "reasons": _reasons(gpu),
    }


def _uncorrected(volatile: ET.Element | None) -> int | None:
    """Since the driver was loaded or the GPU was reset."""
    total = volatile.find("double_bit/total") if volatile is not None else None
    legacy = _number(total.text) if total is not None else None
    return _sum(volatile, r".*uncorrectable.*") if legacy is None else legacy


def _sum(element: ET.Element | None, tag: str) -> int | None:
    found = [
        _number(part.text) for part in (element.iter() if element is not None else ()) if re.fullmatch(tag, part.tag)
    ]
    numbers = [number for number in found if number is not None]
    return sum(numbers) if numbers else None


def _reasons(gpu: ET.Element) -> list[str]:
    """Why the clocks are lower than they could be: hw_slowdown, sw_power_cap, gpu_idle, ..."""
    found = []
    for table in ("clocks_event_reasons", "clocks_throttle_reasons"):
        for part in gpu.findall(f"{table}/*"):
            if (part.text or "").strip() == "Active":
                found.append(re.sub(r"^clocks_(event|throttle)_reasons?_", "", part.tag))
    return sorted(found)


def _number(text: str | None) -> int | None:
    match = re.match(r"\s*(\d+)", text or "")
    return int(match[1]) if match else None


def _yes(text: str | None) -> bool:
    return (text or "").strip() == "Yes"


def _switch(text: str | None) -> bool | None:
    return {"Enabled": True, "Disabled": False}.get((text or "").strip())


def _telling(text: str | None) -> str | None:
    text = (text or "").strip()
    return None if text in ("", "None", "N/A") else text
