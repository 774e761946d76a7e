"""Backend `data-prep`: text to tokenized shards, which trains nothing."""
