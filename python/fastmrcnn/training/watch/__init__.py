"""What watches a run: the loop tells rows of metrics and evaluations, sinks keep and show them.

A sink is one class with the methods of :class:`~fastmrcnn.training.watch.sink.Sink`; :func:`watching` lists those of a
run, and nothing else knows them.
"""

from fastmrcnn.training.watch.sink import Evaluated, Row, Sink
from fastmrcnn.training.watch.watchers import Watchers, watching

__all__ = ["Evaluated", "Row", "Sink", "Watchers", "watching"]
