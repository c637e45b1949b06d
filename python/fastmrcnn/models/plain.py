"""Frozen dataclasses as plain values and back, for configurations that are stored as JSON."""

from __future__ import annotations

import dataclasses
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

T = TypeVar("T")


def to_plain(value: Any) -> Any:
    """Dicts, lists, numbers and strings, ready for JSON, of a dataclass and whatever it holds."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {entry.name: to_plain(getattr(value, entry.name)) for entry in dataclasses.fields(value)}
    if isinstance(value, list | tuple):
        return [to_plain(item) for item in value]
    return value


def from_plain(kind: type[T], values: Any) -> T:
    """An instance of the dataclass ``kind``, nested dataclasses and tuples included.

    A field that is left out keeps its default; an unknown field or a missing one without default is a ValueError.
    """
    if not isinstance(values, dict):
        raise ValueError(f"{kind.__name__}: expected a mapping of fields; got {values!r}")
    hints = get_type_hints(kind)
    fields = {entry.name: entry for entry in dataclasses.fields(kind)}  # type: ignore[arg-type]
    for key in values:
        if key not in fields:
            raise ValueError(f"{kind.__name__}: unknown field {key!r}; expected {', '.join(fields)}")
    for key, entry in fields.items():
        optional = entry.default is not dataclasses.MISSING or entry.default_factory is not dataclasses.MISSING
        if key not in values and not optional:
            raise ValueError(f"{kind.__name__}: missing field {key!r}")
    return kind(**{key: _convert(f"{kind.__name__}.{key}", hints[key], value) for key, value in values.items()})


def _convert(where: str, hint: Any, value: Any) -> Any:
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return from_plain(hint, value)
    if get_origin(hint) is tuple:
        if not isinstance(value, list | tuple):
            raise ValueError(f"{where}: expected a list; got {value!r}")
        inner = get_args(hint)[0]
        return tuple(_convert(where, inner, item) for item in value)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if hint in (int, float, str, bool) and (not isinstance(value, hint) or (hint is int and isinstance(value, bool))):
        raise ValueError(f"{where}: expected {hint.__name__}; got {value!r}")
    return value
