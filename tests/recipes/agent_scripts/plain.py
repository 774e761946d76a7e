"""A script without a framework: two steps in the plain form, and a module of its own that is called as one of ours."""

import importlib

reward = importlib.import_module("contract").NAME
for step in range(2):
    print(f"step {step} | loss {2 - step}.5 | {reward} {step}")
