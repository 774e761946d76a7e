"""Facts about prepared data, tokenizers and directories that a config names: the same for every backend."""
