"""Overrides that name nothing known: what was probably meant, and the override that says so."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from automodel_launch.config.dotted import all_keys
from automodel_launch.config.merge import MergedConfig
from automodel_launch.config.overrides import Override
from automodel_launch.errors import ConfigError, UsageError
from automodel_launch.suggest import alike, nearest, nearest_key

_MOST = 3  # suggestions in one message


def refuse_bare_options(overrides: Iterable[Override], options: Iterable[str]) -> None:
    """Refuse `--word` without a value that is one of the launcher's own options misspelt, before anything else is read.

    What is less like one may be a key of the config that lacks its value.

    Raises:
        UsageError: a misspelt option.
    """
    for override in overrides:
        near = nearest(override.text, options) if override.dashed and "=" not in override.text else None
        if near and alike(override.text, near):
            raise UsageError(
                f"unknown option {override.text}.{_meant([near])} Nothing was submitted.",
                "options: python launch.py RECIPE --help",
            )


def unknown_key(merged: MergedConfig, override: Override, options: Iterable[str]) -> ConfigError | UsageError:
    """The error about a key that the config does not have."""
    if override.dashed and "." not in override.key:
        return unknown_option(merged, override, options)
    known = [*all_keys(merged.data), *merged.optional]
    near = _below(override.key, known) or [key for key in [nearest_key(override.key, known)] if key]
    how = f"write +{override.key}=... to add a new key" if override.action != "remove" else "see --dry-run for the keys"
    return ConfigError(
        f"override {override.text}: the config {merged.path.name} has no key '{override.key}'.{_meant(near)}",
        f"{_rewritten(override, near)}; {how}" if near else how,
    )


def unknown_option(merged: MergedConfig, override: Override, options: Iterable[str]) -> UsageError:
    """The error about `--word`, which is neither an option nor a key of the config."""
    option = override.text.partition("=")[0]
    top = [*merged.data, *merged.optional]
    keys = [key for key in (*all_keys(merged.data), *merged.optional) if key != "run" and not key.startswith("run.")]
    if override.key in [*keys, *top] and "=" not in override.text:
        return UsageError(f"{option} needs a value: {option} VALUE or {override.key}=VALUE.")
    listed = "options: python launch.py --help; a key of the config is set by key.sub=value"
    below = _below(override.key, keys)
    if below:
        meant = _meant([f"--{key}" for key in below])
        return UsageError(f"unknown option {option}.{meant} Nothing was submitted.", _rewritten(override, below))
    near = nearest(option, [*options, *(f"--{key}" for key in top if key != "run")])
    return UsageError(f"unknown option {option}.{_meant([near] if near else [])} Nothing was submitted.", listed)


def _below(key: str, known: Iterable[str]) -> list[str]:
    """Known keys that end with this one: `lr` is optimizer.lr."""
    return [other for other in known if other.endswith(f".{key}")][:_MOST]


def _meant(names: Sequence[str]) -> str:
    return f" Did you mean {' or '.join(repr(name) for name in names)}?" if names else ""


def _rewritten(override: Override, keys: Iterable[str]) -> str:
    """The same override with each of these keys."""
    _, equals, value = override.text.partition("=")
    before = "~" if override.action == "remove" else "--" if override.dashed else ""
    return " or ".join(f"{before}{key}{equals}{value}" for key in keys)
