"""The same for checkpoints of Megatron-Bridge 0.3.1. Standard library only, but for resume.py.

faults.py     what is wrong with one checkpoint
choice.py     the one to resume from among all of a run; moving damaged ones aside
retention.py  which old ones may go
resume.py     the two places where Megatron-Bridge asks for it: loading a checkpoint, deleting old ones

A checkpoint, as save_checkpoint writes it (N iterations are done):

    iter_000000N/
      .metadata *.distcp                 model, optimizer, RNG in torch's distributed checkpoint format (DCP)
      metadata.json common.pt            of ckpt_format torch_dist: the format's name; what all ranks have in common
      train_state.pt                     step and consumed samples; written when the files above are
      run_config.yaml                    the configuration; after the trackers
      tokenizer/                         last, where it is saved
    latest_train_state.pt                a copy of the last train_state.pt: the one to resume from
    latest_checkpointed_iteration.txt    its N, for Megatron-LM
"""
