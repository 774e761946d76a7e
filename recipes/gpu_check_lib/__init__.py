"""What is behind recipes/gpu_check.py; torch, which may be broken, is imported in the second phase.

settings.py  the YAML file -> Settings              identity.py  which node this is, of how many
phases.py    the phases, in their order             record.py    node-K.json
bounded.py   calls with a limit, in processes of their own, that may never return
paths.py     is a path there, readable, writable    smi.py       nvidia-smi -q -x -> numbers
ranks.py     a process for each GPU, and its end    work.py      what such a process does
store.py     a key-value store between nodes        meeting.py   who is there; the clocks
rounds.py    the tournament's schedule              pairs.py     the rounds themselves
"""
