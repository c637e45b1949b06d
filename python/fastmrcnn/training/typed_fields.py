"""From a JSON object to the fields of a flat dataclass, with an error for each wrong key or type."""

from __future__ import annotations

import dataclasses
import difflib
import typing
from typing import Any

from fastmrcnn.errors import UserError


def typed_fields(cls: type, values: Any, source: str) -> dict[str, Any]:
    """``values`` (from JSON) converted to the types of the dataclass ``cls``, by field name; any may be missing.

    ``UserError`` names ``source`` and the key that ``cls`` does not have or whose value has the wrong type.
    """
    from fastmrcnn.models.plain import convert  # brings torch: the command line answers --help without it

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
            converted[name] = convert(value, hints[name])
        except TypeError as error:
            raise UserError(f"{source}: {name} must be {error}; got {value!r}") from None
    return converted
