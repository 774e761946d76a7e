"""Which checkpoint a run resumes from, and that it is complete. Standard library only where nothing else is said.

formats.py     what a file says about itself: safetensors headers, torch.save archives, DCP metadata
regular.py     files as they are read here: no pipes
faults.py      what is wrong with one checkpoint
choice.py      the one to resume from among all of a run; moving damaged ones aside
resume.py      the two places where AutoModel 0.7.0 asks for it: loading a checkpoint, deleting old ones; torch
megatron/      the same for checkpoints of Megatron-Bridge
listing.py     what there is, and what is wrong with it, for `launch.py checkpoints`; so are those down to stopped.py
weights.py     the same for a directory that transformers or peft loads
removal.py     which removes checkpoints under the run's lock
exporting.py   a directory for transformers; AutoModel puts shards together
durable.py     what is written is on the disk before it gets its name
uploading.py   to the Hugging Face hub, with huggingface_hub
stopped.py     how each of these ends early
evaluations.py what lies in `evaluations/` beside the checkpoints: results, and the jobs that are to make them

A checkpoint of AutoModel 0.7.0, as its BaseRecipe.save_checkpoint writes it (S counts from 0, so that S + 1 steps are
done), less what only other programs read:

    epoch_E_step_S/
      .incomplete                        from the start of the save until LATEST names it
      losses.json config.yaml            written first and last
      step_scheduler.pt                  {"step": S + 1, "epoch": E}
      rng/rng_global_rank_N.pt           one a rank
      dataloader/dataloader_dp_rank_N.pt one a data-parallel rank
      model/*.safetensors                shards of the weights (or DCP: .metadata and *.distcp)
      optim/.metadata optim/*.distcp     optimizer and learning rate, in torch's distributed checkpoint format (DCP)
    LATEST -> epoch_E_step_S             relative; or LATEST.txt where there are no links; beats a higher number
"""
