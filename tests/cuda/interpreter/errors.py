"""What the interpreter reports."""


class InterpreterError(Exception):
    """Something that the interpreter cannot execute, or a mistake in a kernel."""


class KernelError(InterpreterError):
    """A mistake in a kernel (memcheck, initcheck, racecheck, synccheck, a trap), with its name and the source lines."""
