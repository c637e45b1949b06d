"""The one exception that stands for a mistake in the user's input."""

from __future__ import annotations


class UserError(ValueError):
    """A file, an annotation or an option that the user can correct.

    Its message is a single line that names the file or the argument, what was expected and what was found; the command
    line prints that line without a traceback and ends with exit code 2. A broken call of a function of this library
    (a wrong shape, a wrong dtype) is a plain ``ValueError`` or ``TypeError`` instead.

    >>> raise UserError("train.json: expected a COCO object with 'images'; got a list")
    Traceback (most recent call last):
        ...
    fastmrcnn.errors.UserError: train.json: expected a COCO object with 'images'; got a list
    """
