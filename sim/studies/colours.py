"""One meaning a colour, in all pictures; told apart without colour vision too."""

__all__ = ["BUSY", "IDLE", "PRECISION", "STALLED"]

#: A unit or PE that works, waits with work at hand, or has none.
BUSY, STALLED, IDLE = "#2f6f9f", "#f2a541", "#eeeeee"

#: A token by its bits: pruned ones fade.
PRECISION = {0: "#9a9a9a", 4: "#b08fd0", 8: "#5b2a86"}
