"""Parts of scripts/make_automodel_schema.py."""
