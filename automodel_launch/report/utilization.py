"""Model FLOPs utilization (MFU): of a GPU's peak in bfloat16, the share that went into the model's own products.

Both have to be known: the model's operations a token, which its backend counted when the job was submitted (or those a
second that the framework logs itself), and the GPU, as the node told it or the profile.
"""

from __future__ import annotations

import math
from array import array

from automodel_launch import contract
from automodel_launch.jobs.records import is_number
from automodel_launch.remote import gpu_models
from automodel_launch.report.joining import Joined
from automodel_launch.report.reading import JobFiles, Json

_NAN = float("nan")


def described(job: JobFiles) -> Json | None:
    """The job's GPU and its peak, in operations a second; None where one of them is not known."""
    name = _gpu(job)
    peak = gpu_models.peak(name) if name else None
    return {"model": name, "peak": peak} if peak else None


def column(joined: Joined) -> array[float]:
    """Percent for each row of the steps, NaN where it is not known."""
    found = array("d", [_NAN]) * joined.steps.rows
    logged, rate = joined.steps["tflops_per_gpu"], joined.steps["tps_per_gpu"]
    for job, rows in joined.of_job:
        gpu, cost = described(job), job.notes.get("flops_per_token")
        if gpu is None:
            continue
        each = cost if is_number(cost) and cost > 0 else _NAN
        for row in rows:
            done = rate[row] * each if math.isnan(logged[row]) else logged[row] * 1e12
            found[row] = 100 * done / gpu["peak"]
    return found


def _gpu(job: JobFiles) -> str | None:
    """As the last start on a node has told it, else as the profile says."""
    started = [event.get("gpu") for event in job.events if event.get("state") == contract.EVENT_STARTED]
    names = [name for name in (*reversed(started), job.notes.get("gpu")) if isinstance(name, str) and name]
    return names[0] if names else None
