"""A run's checkpoints: listed, verified, removed, exported and uploaded where they lie (recipes/checkpoints.py)."""
