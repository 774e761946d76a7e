"""What of the Hugging Face hub lies on this machine, and what needs a token."""
