"""Do a profile's values have the form that sbatch, srun, ssh and Docker take? Told without asking anybody.

What may be valid somewhere is no fault: a cluster that is asked says the rest itself.
"""
