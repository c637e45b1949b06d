"""State that all threads of a process share: locks, and values that are kept without one."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Any, Generic, TypeVar, overload

Value = TypeVar("Value")


def lock_across_forks() -> threading.Lock:
    """A lock that is free in a forked child, where the thread that may have held it does not exist.

    A fork waits until it is free, so what it guards is whole in the child. The thread that forks must not hold it. A
    fork takes all such locks, the youngest first; so must whoever needs two of them.

    >>> with lock_across_forks():
    ...     pass
    """
    lock = threading.Lock()
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(before=lock.acquire, after_in_parent=lock.release, after_in_child=lock.release)
    return lock


class kept_property(Generic[Value]):  # used like property
    """``functools.cached_property`` without its lock, which is one for all objects of a class before Python 3.12.

    Threads would wait for each other to compute what they do not share, and the child of a fork for ever, where another
    thread was at it. Two threads that ask the same object at once may compute the same value twice.

    >>> class Disk:
    ...     radius = 2.0
    ...     area = kept_property(lambda disk: 3.14 * disk.radius**2)
    >>> Disk().area
    12.56
    """

    def __init__(self, compute: Callable[[Any], Value]) -> None:
        self._compute = compute
        self.__doc__ = compute.__doc__

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    @overload
    def __get__(self, owner: None, kind: type) -> kept_property[Value]: ...

    @overload
    def __get__(self, owner: object, kind: type | None = None) -> Value: ...

    def __get__(self, owner: object, kind: type | None = None) -> kept_property[Value] | Value:
        if owner is None:
            return self
        value = owner.__dict__[self._name] = self._compute(owner)  # which Python finds first from now on
        return value
