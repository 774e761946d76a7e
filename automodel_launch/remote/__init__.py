"""Commands and files, on this machine or over SSH; what is asked of Slurm."""
