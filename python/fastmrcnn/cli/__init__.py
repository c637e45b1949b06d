"""The command line: ``fastmrcnn demo | doctor | train | eval | predict | convert | export``."""

from fastmrcnn.cli.main import main

__all__ = ["main"]
