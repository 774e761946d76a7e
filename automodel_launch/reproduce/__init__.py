"""What a job has left, compared with another one, run once more, taken elsewhere, or cleared away."""
