"""How heavy and how slow a library's gates are: limits of loads and delays follow it."""

from dataclasses import dataclass

__all__ = ["NANGATE45", "Scale", "load_scale"]

#: Input load, fF, and delay, ps, behind four times that load, of the smallest buffer of Nangate45:
#: the flow's limits are those of this library.
REFERENCE_FF, REFERENCE_PS = 0.974659, 37.25


def load_scale(input_ff: float) -> float:
    """Return the loads of a library over Nangate45's, by the input of its smallest buffer."""
    return round(input_ff / REFERENCE_FF, 2)


@dataclass(frozen=True)
class Scale:
    """Loads and delays of a library over Nangate45's."""

    load: float = 1.0
    time: float = 1.0

    @classmethod
    def of(cls, input_ff: float, resistance: float, delay: float) -> "Scale":
        """Return that of a library whose smallest buffer is this one.

        Parameters
        ----------
        input_ff : float
            Its input load, fF.
        resistance : float
            ps a fF.
        delay : float
            ps without a load.
        """
        time = (delay + 4 * resistance * input_ff) / REFERENCE_PS
        return cls(load_scale(input_ff), round(time, 2))


#: The library that the limits are for.
NANGATE45 = Scale()
