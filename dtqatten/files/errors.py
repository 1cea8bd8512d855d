"""The bases of errors that are no faults of the program."""

__all__ = ["ToolError", "UsageError"]


class UsageError(ValueError):
    """What cannot be done as asked; the message names what is wrong, and the way out.

    The command line shows the message. Any other ``ValueError`` is a fault of the program, and its
    traceback is shown.
    """


class ToolError(RuntimeError):
    """A tool that is missing or fails, with what it said. The command line shows the message."""
