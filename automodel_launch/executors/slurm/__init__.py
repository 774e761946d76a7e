"""A Slurm cluster, from a login node or over SSH."""
