"""What pretrain_bridge.py, finetune_bridge.py and convert.py are made of. Megatron-Bridge is imported late: a finished
run needs none of it.

command.py      the command line of a training
order.py        the YAML file and the command line -> what is asked for
container.py    the complete ConfigContainer: recipe, data, sections, directories, lengths, signals
recipe.py       the recipe's function, found and called
hf_configs.py   a model's Hugging Face configuration from the config or from a directory, before the hub
blend.py        data preparation's blend.json -> what a data set takes
sections.py     sections of the config onto ConfigContainer, with every name and type checked
values.py       one value for one field
written.py      no secret in what Megatron-Bridge writes of the configuration
training.py     Megatron-Bridge's loop, between our resume and our end
callbacks.py    what is done at each step: phases, heartbeats, the signal handler
save_request.py a checkpoint or a profile on request, after which the training goes on
mlflow_run.py   one run of MLflow over all attempts
relay.py        the last rank's lines, which hold the loss, in rank 0's log
end.py          how the loop ended, and finished.json
adaptations.py  what a pip-installed Megatron-Bridge needs on any machine
cpu.py          what it needs without CUDA
stand_ins.py    ... and without packages that need a GPU; import_once.py: imported as a training does
convert_command.py  the command line of convert.py
conversion.py   what is converted into what
exporting.py    Megatron's format -> Hugging Face's, along skeleton.py where there are no weights to go by
importing.py    Hugging Face's format -> Megatron's
"""
