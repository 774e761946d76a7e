"""The parts of rehearse.py, which sets a training up and takes one step of it, on fake tensors.

What the first process does, with the standard library alone:

    request    what is asked, read from standard input
    versions   whether it was tested with what this Python has
    scratch    the only directory that is written to, removed whatever happens
    parent     starts the worker, gives it orders, and makes one result of its answers
    culprit    which of the command line's overrides a failure comes from
    leaves     the leaves of a configuration, and the one that words speak of
    removal    which key it comes from, where neither they nor the message tell
    result     what is printed

What the worker does, a process of its own with a clean environment:

    worker       imports AutoModel once, and forks a child for every order
    environment  the variables of the worker and of a child
    guard        keeps a child from the network, from commands and from writing
    attempt      the child: its stages, and the answer that it sends
    stages       configuration, set-up, a batch, a step, the schedule, a validation
    underway     what the patches see of them
    failure      what an exception says about the configuration: place, section, key
    outcomes     whether an exception is a fault, or a limit of rehearsing
    fakes        tensors without storage, and process groups whose other ranks have what this one has
    datasets     sections of the configuration that name data
    places       directories of the configuration that nothing could be written to
    synthetic    batches of the right shape where the data cannot be seen
    megatron_index  the index of Megatron data, short
    memory       the bytes that are alive, by what they are for
    patches/     what has to be other than in a job, a file a concern
"""
