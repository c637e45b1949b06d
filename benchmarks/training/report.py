"""The document that shows what was measured, and what it was measured on."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import torch

from benchmarks.results import machine
from fastmrcnn.files import write_text


def markers(program: str, name: str) -> tuple[str, str]:
    """The lines before and after the table ``name`` of ``python -m benchmarks.PROGRAM``."""
    return f"<!-- {program}: {name} (written by python -m benchmarks.{program}) -->", f"<!-- /{program} -->"


def rewrite(document: Path, tables: Mapping[str, str], program: str = "training") -> None:
    """Put each table between the markers of its name; SystemExit where the document lacks them."""
    text = document.read_text(encoding="utf-8")
    for name, table in tables.items():
        begin, end = markers(program, name)
        part = f"{begin}\n\n{table}\n\n{end}"
        text, count = re.subn(f"{re.escape(begin)}\n.*?{re.escape(end)}", lambda _, part=part: part, text, flags=re.S)
        if not count:
            raise SystemExit(f"{document}: expected a line {begin!r} and one {end!r}")
    write_text(document, text)


def circumstances() -> str:
    """The machine, and the threads of a step on it."""
    found = machine()
    return f"torch {torch.__version__}, {torch.get_num_threads()} threads, {found['cores']} cores of {found['cpu']}"
