"""Help without noise: an option that may stay unset reads ``--steps INT``, not ``{None}|INT ... (default: None)``."""

from __future__ import annotations

import dataclasses
from types import NoneType
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin, get_type_hints

import tyro

Class = TypeVar("Class", bound=type)


def readable_help(command: Class) -> Class:
    """Decorator of a command's dataclass; what its options accept stays the same."""
    hints = get_type_hints(command, include_extras=True)
    for field in dataclasses.fields(command):
        hint = hints[field.name]
        choices = [choice for choice in get_args(hint) if choice is not NoneType]
        if field.default is None and len(choices) == 1:
            shown = tyro.conf.arg(metavar=_metavar(choices[0]), help_behavior_hint="")
        elif field.default == ():
            shown = tyro.conf.arg(help_behavior_hint="")
        else:
            continue
        command.__annotations__[field.name] = Annotated[hint, shown]
    return command


def _metavar(kind: Any) -> str:
    if get_origin(kind) is Literal:
        return "{" + ",".join(map(str, get_args(kind))) + "}"
    if get_origin(kind) is tuple:
        return " ".join(map(_metavar, get_args(kind)))
    return str(kind.__name__).upper()
