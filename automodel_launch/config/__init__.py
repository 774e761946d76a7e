"""YAML, `defaults:`, overrides and references -> one resolved config."""
