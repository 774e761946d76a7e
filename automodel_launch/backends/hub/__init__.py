"""What of the Hugging Face hub is on this machine, and what needs a token."""
