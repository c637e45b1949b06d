"""The meaning of the opcodes: each file holds a group of them."""

from . import arithmetic, bits, collectives, conversion, memory
from .table import step_for

__all__ = ["arithmetic", "bits", "collectives", "conversion", "memory", "step_for"]
