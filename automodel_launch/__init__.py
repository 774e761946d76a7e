"""Takes a NeMo AutoModel pretraining job from a laptop or login node to where it runs, and sees it through."""

__version__ = "0.1.0"
