"""Launches made up by chance: none ends in a traceback, and none keeps anybody waiting."""
