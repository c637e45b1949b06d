"""From a JSON object to the fields of a flat dataclass, with an error for each wrong key or type."""

from __future__ import annotations

import dataclasses
import difflib
import types
import typing
from pathlib import Path
from typing import Any, Literal, Union

from fastmrcnn.errors import UserError


def typed_fields(cls: type, values: Any, source: str) -> dict[str, Any]:
    """``values`` (from JSON) converted to the types of the dataclass ``cls``, by field name.

    ``UserError`` names ``source`` and the key that ``cls`` does not have or whose value has the wrong type.
    """
    if not isinstance(values, dict):
        raise UserError(f"{source}: expected a JSON object of options; got {type(values).__name__}")
    hints = typing.get_type_hints(cls)
    names = [field.name for field in dataclasses.fields(cls)]
    converted = {}
    for name, value in values.items():
        if name not in names:
            near = difflib.get_close_matches(str(name), names, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise UserError(f"{source}: unknown option {name!r}{hint}")
        try:
            converted[name] = _convert(value, hints[name])
        except TypeError as error:
            raise UserError(f"{source}: {name} must be {error}; got {value!r}") from None
    return converted


def _convert(value: Any, hint: Any) -> Any:
    """``value`` as ``hint``; a ``TypeError`` says in words what ``hint`` accepts."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (Union, types.UnionType):
        options = [option for option in arguments if option is not type(None)]
        return None if value is None else _convert(value, options[0])
    if origin is Literal:
        if value not in arguments:
            raise TypeError("one of " + ", ".join(repr(argument) for argument in arguments))
        return value
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise TypeError("a list")
        if arguments[-1] is not Ellipsis and len(value) != len(arguments):
            raise TypeError(f"a list of {len(arguments)} values")
        return tuple(_convert(item, arguments[0]) for item in value)
    if hint is Path and isinstance(value, str):
        return Path(value)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, hint) or (isinstance(value, bool) and hint is not bool):
        raise TypeError(_WORDS.get(hint, hint.__name__))
    return value


_WORDS = {int: "a whole number", float: "a number", bool: "true or false", str: "a string", Path: "a path"}
