"""What a figure of the project is."""

from dataclasses import dataclass

__all__ = ["Figure"]


@dataclass(frozen=True)
class Figure:
    """A number.

    Attributes
    ----------
    name : str
        Its key in the JSON.
    value : float or None
        None where nothing has been measured.
    says : str
        What it is, with unit and method.
    command : str
        What makes it.
    goal : str
        What was aimed at, if anything.
    """

    name: str
    value: float | None
    says: str
    command: str
    goal: str = ""
