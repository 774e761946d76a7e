"""recipes/data_prep.py: it has no steps, losses or checkpoints; a wrong config or wrong data end it for good."""

from __future__ import annotations

import contract

from .none import NoBackend


class DataPrep(NoBackend):
    """Backend `data-prep`: in the job, a script like any other."""

    name = contract.DATA_PREP
