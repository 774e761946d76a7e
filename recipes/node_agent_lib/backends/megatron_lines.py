"""The two lines of Megatron-Bridge 0.3.1's log that tell a step: training_log, and evaluate_and_print_results.

The agent reads numbers from them; the launcher shows them to a person, and has a link to this file. Iterations count
from 1.
"""

from __future__ import annotations

import re

ITERATION = re.compile(r"\] iteration +(?P<iteration>\d+)/ *(?P<all>\d+) \|(?P<rest>.*)")
VALIDATION = re.compile(r" validation loss at iteration (?P<iteration>\d+)(?: on (?P<set>\w+) set)? \|(?P<rest>.*)")
FIELD = re.compile(r"^\s*(?P<name>[^:]+?): +(?P<value>\S+)\s*$")
