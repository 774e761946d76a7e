"""What pretrain.py is made of. nemo_automodel is imported late: a run that is finished needs none of it.

config.py        the YAML file, as it stands and as AutoModel's loader gives it
recipe_class.py  which class of AutoModel, or of the user's own, is run
adaptations.py   what AutoModel needs of its surroundings before and after set-up
trackers.py      no secret in what W&B and Comet are told
finished.py      how the loop ended, and finished.json
output.py        rank 0's lines
"""
