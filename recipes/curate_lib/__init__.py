"""Rooms of curate.py.

config.py     the resolved YAML -> Config
targets.py    `_target_` -> the class, and what it does not take
inputs.py     the files that readers will read, so that a change is noticed
running.py    the stages in order, on this node
record.py     what an output_dir was begun with, and what came of it
trial.py      the first files of a reader, and a writer's compression, tried
look.py       what would be refused, for the launcher's dry run
"""
