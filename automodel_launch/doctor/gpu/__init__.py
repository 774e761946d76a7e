"""Judges what the nodes have written for `doctor --gpu`: all together, one node, pairs. Pure functions."""
