"""Backend `export-check`: loads an export, which trains nothing."""

from __future__ import annotations

from collections.abc import Iterator

from automodel_launch import backends
from automodel_launch.backends import Config, Reference
from automodel_launch.backends.noise import Noise, of_libraries
from automodel_launch.backends.plain import Plain


class Exported(Plain):
    """Implements backends.Backend."""

    def noise(self) -> Noise:
        """What transformers and what it imports print."""
        return of_libraries()

    def references(self, config: Config) -> Iterator[Reference]:
        """The export's directory; recipes/export_check.py takes no hub id."""
        if isinstance(config.get("model"), str):
            yield Reference("model", "model", config["model"], hub=False)


BACKEND: backends.Backend = Exported()
