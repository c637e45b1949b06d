"""The command line: ``fastmrcnn demo | doctor | train | eval | predict | convert | export | bench``."""

from fastmrcnn.cli.main import main

__all__ = ["main"]
