"""Imported by the process that forks the workers (forks.py), for what the import does."""

from data_prep_lib import forks, worker  # noqa: F401  # what workers need is imported once, too

forks.preload()
