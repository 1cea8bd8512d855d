"""Tables as documents have them."""

from collections.abc import Iterable

__all__ = ["Row", "print_table"]

Row = tuple[str, ...]


def print_table(head: str, rows: Iterable[Row]) -> None:
    """Print a table in Markdown, and an empty line.

    Parameters
    ----------
    head : str
        Titles of the columns, with ``|`` between them.
    rows : iterable of tuple of str
    """
    columns = head.split("|")
    print("|" + "|".join(columns) + "|\n" + "|---" * len(columns) + "|")
    for row in rows:
        print("|" + "|".join(row) + "|")
    print()
