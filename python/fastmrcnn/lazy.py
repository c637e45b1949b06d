"""Packages that are cheap to import: a name loads the module that it is in when it is first used."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping
from typing import Any


def lazy_names(package: str, home: Mapping[str, str]) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """``__getattr__`` and ``__dir__`` of a package.

    Args:
        package: its ``__name__``.
        home: for each public name the module of the package that has it.

    >>> __getattr__, __dir__ = lazy_names("fastmrcnn", {"load_model": "weights"})
    >>> __getattr__("load_model").__module__
    'fastmrcnn.weights.load'
    """

    def load(name: str) -> Any:
        if name not in home:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(importlib.import_module(f"{package}.{home[name]}"), name)

    return load, lambda: sorted(sys.modules[package].__all__)
