"""Classes of values, declared and used as those of `dataclasses`, which would be a third of the agent's start.

The standard library imports `inspect` for them, and writes and compiles source text for each class. All agents of a job
start at once, so here nothing is imported or compiled. For whoever checks types, they are those of `dataclasses`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Callable

__all__ = ["asdict", "dataclass", "field", "names", "replace"]

if TYPE_CHECKING:
    from dataclasses import asdict, dataclass, field, replace
else:

    def dataclass(cls: type | None = None, *, frozen: bool = False, eq: bool = True) -> Any:
        """The decorator: of a class that inherits nothing, whose fields are its annotations."""
        return _completed(cls, frozen, eq) if cls is not None else lambda cls: _completed(cls, frozen, eq)

    def field(*, default_factory: Callable[[], Any]) -> Any:
        """A default that each object has for itself."""
        return _Factory(default_factory)

    def replace(value: Any, **changes: Any) -> Any:
        """A copy, with other values of some fields."""
        return type(value)(**{**_values(value), **changes})

    def asdict(value: Any) -> dict[str, Any]:
        """Its fields, and theirs; lists and dicts are copied."""
        return {name: _plain(item) for name, item in _values(value).items()}


_FIELDS = "__agent_fields__"


class _Factory:
    def __init__(self, make: Callable[[], Any]) -> None:
        self.make = make


def names(cls: type) -> tuple[str, ...]:
    """The names of its fields, in their order."""
    found: tuple[str, ...] = getattr(cls, _FIELDS)
    return found


def _values(value: Any) -> dict[str, Any]:
    return {name: getattr(value, name) for name in names(type(value))}


def _plain(value: Any) -> Any:
    if hasattr(type(value), _FIELDS):
        return asdict(value)
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    if type(value) in (list, tuple):
        return type(value)(_plain(item) for item in value)
    return value


def _completed(cls: Any, frozen: bool, eq: bool) -> Any:
    fields = tuple(cls.__annotations__)
    defaults = {name: vars(cls)[name] for name in fields if name in vars(cls)}
    for name, default in defaults.items():
        if isinstance(default, _Factory):
            delattr(cls, name)
    setattr(cls, _FIELDS, fields)
    cls.__init__ = _init(cls.__name__, fields, defaults)
    cls.__repr__ = _repr
    if eq:
        cls.__eq__ = _equal
        cls.__hash__ = _hash if frozen else None
    if frozen:
        cls.__setattr__ = cls.__delattr__ = _refuse
    return cls


def _init(kind: str, fields: tuple[str, ...], defaults: dict[str, Any]) -> Callable[..., None]:
    known = frozenset(fields)

    def init(self: Any, *values: Any, **named: Any) -> None:
        held = self.__dict__
        given = dict(zip(fields, values))
        if len(values) > len(fields) or not known.issuperset(named) or not given.keys().isdisjoint(named):
            raise TypeError(f"{kind}: {len(values)} values and {', '.join(named) or 'no names'} do not fit its fields")
        given.update(named)
        for name in fields:
            if name in given:
                held[name] = given[name]
            elif name in defaults:
                default = defaults[name]
                held[name] = default.make() if isinstance(default, _Factory) else default
            else:
                raise TypeError(f"{kind}: {name} is missing")

    return init


def _repr(self: Any) -> str:
    return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in _values(self).items())})"


def _equal(self: Any, other: Any) -> Any:
    return _values(self) == _values(other) if type(other) is type(self) else NotImplemented


def _hash(self: Any) -> int:
    return hash(tuple(_values(self).values()))


def _refuse(self: Any, name: str, *_value: Any) -> None:
    raise AttributeError(f"{type(self).__name__}: {name} cannot be changed")
