"""Parts of scripts/make_automodel_schema.py, and of make_bridge_schema.py (bridge_*.py)."""
