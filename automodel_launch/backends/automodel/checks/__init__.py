"""Findings about a config of AutoModel's, by subject."""
