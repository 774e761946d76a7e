"""How often to save: what a run loses in saves, in lost steps and in restarts, and the interval that loses least.

J. T. Daly, A higher order estimate of the optimum checkpoint interval for restart dumps (2006): failures come at
random, one in `mtbf` seconds on average, and cost what was done since the last save and a restart. With saves that are
short beside that it is the rule of J. W. Young (1974), sqrt(2 x save x MTBF). All times are seconds.
"""

from __future__ import annotations

import math

_GPU_HOURS_A_FAILURE = 7.9 * 1024  # a mean of 7.9 h at 1,024 GPUs: arXiv 2410.21680 (two clusters of A100, 11 months)
UNSURE = 4.0  # its own model of hardware alone gives 1.8 h at 16,384 GPUs, which is a mean about four times as long


def wasted(interval: float, save: float, restart: float, mtbf: float) -> float:
    """The share of the time that is not in steps which count, where each `interval` of steps is followed by a save."""
    exponent = (interval + save) / mtbf
    if exponent + restart / mtbf > 100:  # it never comes as far as a save
        return 1.0
    return 1.0 - interval / (mtbf * math.exp(restart / mtbf) * math.expm1(exponent))


def best(save: float, mtbf: float) -> float:
    """Seconds of steps between two saves that waste least."""
    if save >= 2 * mtbf:
        return mtbf
    part = save / (2 * mtbf)
    return math.sqrt(2 * save * mtbf) * (1 + math.sqrt(part) / 3 + part / 9) - save


def mtbf(gpus: int, failures: int, trained: float) -> float:
    """Seconds of training between two failures, from what is usual and from `failures` in `trained` seconds of the run.

    The usual number counts as one failure more, so that a run's own history outweighs it once there are a few.
    """
    usual = _GPU_HOURS_A_FAILURE * 3600 / max(1, gpus)
    return (usual + max(0.0, trained)) / (1 + failures)
