"""AutoModel's data: what of a config is probed, how many tokens there are, which tokenizer made them."""
