"""scripts/gpu-trial's trials."""
