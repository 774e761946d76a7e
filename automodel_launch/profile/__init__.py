"""env.toml -> Profile."""
