"""The rooms of node_agent.py. Standard library only, Python 3.8 or later.

spec.py        the launcher's order, checked
start.py       `run`: foreground or detached
supervisor.py  one node's life: lock, startup commands, training, end
loop.py        signals, ended children, time
journal.py     what the agent writes down while it runs
peers.py       how nodes learn that another one has failed
stall.py       is the training hung?
hang.py        what a node does about it
stacks.py      where every rank of the node is: logs/stack-<rank>.txt
training.py    the training processes: start, watch, stop, kill
worker.py      what torchrun starts as each rank
startup.py     setup lines and startup commands, and the environment they leave
command.py     the training's command line and what is added to its environment
nodes.py       which node this is, and which one is the head
lock.py        one job at a time for a run
metrics.py     rank 0's log -> metrics.jsonl
records.py     the JSON records and where they lie
begin.py       `begin`: which attempt this is, and the next one queued
chain.py       a job of several attempts
decision.py    shall there be a further attempt?
history.py     the run's history.jsonl
bad_nodes.py   nodes that have failed jobs
slurm.py       what is asked of Slurm for all that
stops.py       stop files: cancel, pause, kill-switch
limits.py      the time limit: when to save
verdict.py     all nodes' records -> what happened to the job
finish.py      `finish`, and writing exit.json
files.py       whole JSON files, or none
procs.py       processes: liveness, descendants, prctl
words.py       one line about an end
log.py         the agent's own log
"""
