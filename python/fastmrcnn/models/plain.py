"""Frozen dataclasses as plain values and back, for configurations that are stored as JSON."""

from __future__ import annotations

import dataclasses
import types
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

T = TypeVar("T")


def to_plain(value: Any) -> Any:
    """Dicts, lists, numbers and strings, ready for JSON, of a dataclass and whatever it holds."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {entry.name: to_plain(getattr(value, entry.name)) for entry in dataclasses.fields(value)}
    if isinstance(value, list | tuple):
        return [to_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def from_plain(kind: type[T], values: Any) -> T:
    """An instance of the dataclass ``kind``, nested dataclasses and tuples included.

    A field that is left out keeps its default; an unknown field, a missing one without default or a value of another
    type is a ValueError that names it.
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
    converted = {}
    for key, value in values.items():
        try:
            converted[key] = convert(value, hints[key])
        except TypeError as error:
            raise ValueError(f"{kind.__name__}.{key} must be {error}; got {value!r}") from None
    return kind(**converted)


def convert(value: Any, hint: Any) -> Any:
    """``value``, as JSON holds it, in the annotated type ``hint``; a TypeError says in words what ``hint`` accepts.

    >>> convert([1, 2.5], tuple[float, ...])
    (1.0, 2.5)
    """
    origin, arguments = get_origin(hint), get_args(hint)
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return from_plain(hint, value)
    if origin in (Union, types.UnionType):  # Optional: the only union that the configurations use
        [option] = [option for option in arguments if option is not types.NoneType]
        return None if value is None else convert(value, option)
    if origin is Literal:
        if value not in arguments:
            raise TypeError("one of " + ", ".join(repr(argument) for argument in arguments))
        return value
    if origin is tuple:
        return _convert_tuple(value, arguments)
    if hint is Path and isinstance(value, str):
        return Path(value)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, hint) or (isinstance(value, bool) and hint is not bool):
        raise TypeError(_WORDS[hint])
    return value


def _convert_tuple(value: Any, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    if not isinstance(value, list | tuple):
        raise TypeError("a list")
    if arguments[-1] is not Ellipsis and len(value) != len(arguments):
        raise TypeError(f"a list of {len(arguments)} values")
    return tuple(convert(item, arguments[0]) for item in value)


_WORDS = {int: "a whole number", float: "a number", bool: "true or false", str: "a string", Path: "a path"}
