"""A container of Docker's on this machine."""
