"""Mistakes in a data set that are told apart by their kind (``fastmrcnn doctor`` groups by it), not by their words."""

from __future__ import annotations

from fastmrcnn.errors import UserError


class MissingImage(UserError):
    """Annotations speak of an image file that is not there."""


class UndecodableImage(UserError):
    """A file is there, but it is no image or a damaged one."""


class InvalidSegmentation(UserError):
    """A polygon or a run-length encoding that cannot be one."""


class UnknownCategory(UserError):
    """An object of a category that the data set does not list; ``number`` is its id."""

    def __init__(self, message: str, number: int) -> None:
        super().__init__(message)
        self.number = number
