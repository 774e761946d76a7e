"""Keys of data-prep's config that several ask for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from automodel_launch.backends import Config


def datasets(config: Config) -> Iterator[tuple[str, str]]:
    """(key, path) of each dataset, as far as the config has the form."""
    given = config.get("datasets")
    for number, dataset in enumerate(given if isinstance(given, list) else []):
        path = dataset.get("path") if isinstance(dataset, Mapping) else None
        if isinstance(path, str):
            yield f"datasets.{number}.path", path
