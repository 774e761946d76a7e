"""What pretrain_bridge.py and convert.py are made of. Megatron-Bridge is imported late: a finished
run needs none of it.

order.py        the YAML file and the command line -> what is asked for
recipe.py       the recipe's function, found and called
hf_configs.py   a model's Hugging Face configuration from the config or from a directory, before the hub
blend.py        data preparation's blend.json -> what a data set takes
sections.py     sections of the config onto ConfigContainer, with every name and type checked
values.py       one value for one field
container.py    the complete ConfigContainer: sections, directories, lengths, signals
callbacks.py    what is done at each step: phases, heartbeats, the signal handler
end.py          how the loop ended, and finished.json
relay.py        the last rank's lines, which hold the loss, in rank 0's log
adaptations.py  what a pip-installed Megatron-Bridge needs on any machine
cpu.py          what it needs without CUDA, and stand_ins.py without GPU-only packages
"""
