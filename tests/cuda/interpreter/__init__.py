"""Executes CUDA kernels without a GPU, from the PTX that nvcc emits, and checks every access that they make."""

from .arrays import DeviceArray
from .device import Device
from .errors import InterpreterError, KernelError

__all__ = ["Device", "DeviceArray", "InterpreterError", "KernelError"]
