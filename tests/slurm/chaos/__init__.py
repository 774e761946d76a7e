"""Chaos: faults drawn at random against runs of a small training on the test cluster, and what must hold after each.

python -m tests.slurm.chaos, scripts/chaos     the command (__main__.py); `session.py` is its loop

place.py      the cluster, a login node's checkout, disks that can be full; `commands.py`: programs that can fail
nodes.py      the nodes' own processes, their Python and clock
kinds/        the faults, a function each; `draw.py` draws them from a seed
case.py       one fault on one run: started, struck, healed, followed to its end
truth.py      which states are true, by Slurm and by the job's own record; `witness.py` compares the launcher's
checks.py     what must hold when the run is over; `story.py`: its history; `leaks.py`: its secret
tally.py      what was found, and the summary
"""
