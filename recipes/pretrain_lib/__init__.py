"""What pretrain.py is made of. nemo_automodel is imported late: a run that is finished needs none of it.

loading.py       what pretrain.py and evaluate.py have in common, from the command line to AutoModel's configuration
config.py        the YAML file, as it stands and as AutoModel's loader gives it
collector.py     no garbage collection during imports, nor of what they leave
recipe_class.py  which class of AutoModel, or of the user's own, is run
loader_workers.py  data loader workers, forked by a server that has imported AutoModel once
adaptations.py   what AutoModel needs of its surroundings before and after set-up
data_helper.py   AutoModel's compiled data helper: kept in the job root and on the node, loaded without torch's lock
file_locks.py    locks that a killed process leaves, and those that it cannot leave
data_phases.py   `dataset.phases`, read and turned into steps; the launcher has a link to it
phased_data.py   the dataset that has one blend a phase
own_files.py     files that are taken only where they are this user's own and whole
index_files.py   the index of Megatron data, whole or not there
phase.py         what this rank is at, for the node agent
requests.py      a checkpoint on request, after which the training goes on
profiling.py     torch's profiler on request: which steps, which ranks; profiler.py is it, and what it measures
rank_times.py    the same again and again, to see which rank is slow
trackers.py      no secret in what W&B, Comet, MLflow and checkpoints are told
finished.py      how the loop ended, and finished.json
evaluation.py    what evaluate.py does: a checkpoint's losses on held-out data
output.py        rank 0's lines
"""
