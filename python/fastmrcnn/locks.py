"""Locks for state that all threads of a process share."""

from __future__ import annotations

import os
import threading


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
