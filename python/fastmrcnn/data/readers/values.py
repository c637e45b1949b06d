"""Values of a JSON file, which anybody may have written: each is checked, and a wrong one is named in one line."""

from __future__ import annotations

from typing import Any

from fastmrcnn.errors import UserError

_LARGEST_ID = 2**63 - 1  # what a tensor and the evaluation's native code hold
_LARGEST_NUMBER = 1e12  # pixels: beyond any image, and far from float32's limit


def value_of(where: str, entry: Any, key: str) -> Any:
    """``entry[key]``; ``where`` begins the message of an entry that is no object or lacks the key."""
    if not isinstance(entry, dict):
        raise UserError(f"{where}: expected an object; got {kind_of(entry)}")
    if key not in entry:
        raise UserError(f"{where}: expected the key '{key}'; got {', '.join(map(str, entry)) or 'an empty object'}")
    return entry[key]


def text_of(where: str, entry: Any, key: str) -> str:
    """A string."""
    value = value_of(where, entry, key)
    if not isinstance(value, str):
        raise UserError(f"{where}: {key} must be a string; got {kind_of(value)}")
    return value


def list_of(where: str, entry: Any, key: str) -> list[Any]:
    """A list."""
    value = value_of(where, entry, key)
    if not isinstance(value, list):
        raise UserError(f"{where}: {key} must be a list; got {kind_of(value)}")
    return value


def whole_of(where: str, entry: Any, key: str) -> int:
    """A whole number, not negative; 480.0 is one, true is none."""
    value = value_of(where, entry, key)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool):
        raise UserError(f"{where}: {key} must be an integer; got {kind_of(value)}")
    if not 0 <= value <= _LARGEST_ID:
        raise UserError(f"{where}: {key} must be within 0..2^63 - 1; got {value}")
    return value


def number_of(where: str, entry: Any, key: str) -> float:
    """A number of pixels."""
    value = value_of(where, entry, key)
    if not is_number(value):
        raise UserError(f"{where}: {key} must be a finite number; got {value!r:.60}")
    return float(value)


def is_number(value: Any) -> bool:
    """A JSON number of a size that pixels can have (NaN fails the comparison)."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and -_LARGEST_NUMBER <= value <= _LARGEST_NUMBER


def kind_of(value: Any) -> str:
    """What JSON calls a value."""
    names = {
        dict: "an object",
        list: "a list",
        str: "a string",
        int: "an integer",
        float: "a float",
        bool: "a boolean",
    }
    return "null" if value is None else names.get(type(value), type(value).__name__)
