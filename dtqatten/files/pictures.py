"""Write pictures: whole or not at all, and equal ones as equal files."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from dtqatten.files.errors import UsageError
from dtqatten.files.whole import replacing

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["check_kind", "save"]

#: Kinds of pictures, with what varies between runs and is left out.
KINDS: dict[str, dict[str, Any]] = {
    "png": {"Software": None},
    "svg": {"Date": None},
    "pdf": {"CreationDate": None},
}


def check_kind(path: Path) -> str:
    """Return the kind of picture that a path's suffix names.

    Raises
    ------
    UsageError
        If it is none of png, svg, pdf.
    """
    kind = path.suffix[1:].lower()
    if kind not in KINDS:
        raise UsageError(f"{path} must end in .png, .svg or .pdf")
    return kind


def save(figure: "Figure", path: Path) -> None:
    """Write a picture as a whole or not at all; the suffix gives the format.

    Raises
    ------
    UsageError
        If the suffix is none of png, svg, pdf.
    """
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    kind = check_kind(path)
    FigureCanvasAgg(figure)
    with (
        replacing(path) as partial,
        matplotlib.rc_context({"svg.hashsalt": "dtqatten", "svg.fonttype": "none"}),
    ):
        figure.savefig(partial, format=kind, dpi=150, metadata=KINDS[kind])
