"""NVIDIA Megatron-Bridge: the second framework that the launcher knows."""
