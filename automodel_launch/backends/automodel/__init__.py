"""NeMo AutoModel 0.7.0: the keys of its configs, what can be wrong with them, what it reads and writes."""
