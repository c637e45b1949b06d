"""The command line: ``fastmrcnn demo | doctor | train | eval | predict | convert``."""

from fastmrcnn.cli.main import main

__all__ = ["main"]
