"""The Plan, a value, and what it is made of."""
