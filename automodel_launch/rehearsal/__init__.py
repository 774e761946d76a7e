"""What would the job's own packages say to a plan? Their set-up and one step, on fake tensors, before the queue."""
