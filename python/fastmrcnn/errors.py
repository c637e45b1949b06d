"""The one exception that stands for a mistake in the user's input, and what others say about one."""

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


def first_line(error: BaseException) -> str:
    """The first line of what a foreign error says, to be quoted in a ``UserError``; its type where it says nothing.

    >>> first_line(RuntimeError("corrupt archive\\nsee the manual")), first_line(EOFError())
    ('corrupt archive', 'EOFError')
    """
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
