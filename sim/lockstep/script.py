"""A bench whose cycles are written beforehand: small blocks need no cycle model of their own."""

from collections.abc import Iterable, Mapping

from dtqatten.sim.engines.bench import compare

__all__ = ["Cycle", "Script"]

#: Inputs, those left out are zero, and outputs, those left out do not matter.
Cycle = tuple[dict[str, int], dict[str, int]]


class Script:
    """Inputs and expected outputs, cycle by cycle.

    A :class:`dtqatten.sim.engines.bench.Bench`.

    Parameters
    ----------
    cycles : iterable of Cycle

    Attributes
    ----------
    compared : int
        Cycles compared.
    """

    def __init__(self, cycles: Iterable[Cycle]) -> None:
        self._cycles = list(cycles)
        # Of inputs that a cycle leaves out, too: a device keeps what it is not given.
        self._names = sorted({name for inputs, _ in self._cycles for name in inputs})
        self.deadline = len(self._cycles)
        self.compared = 0

    @property
    def done(self) -> bool:
        """Whether all cycles have passed."""
        return self.compared >= len(self._cycles)

    def inputs(self) -> dict[str, int]:
        """Return the values of the input ports in this cycle."""
        return dict.fromkeys(self._names, 0) | self._cycles[self.compared][0]

    def expected(self) -> dict[str, int]:
        """Return the values of the output ports in this cycle."""
        return self._cycles[self.compared][1]

    def check(self, ports: Mapping[str, int]) -> None:
        """Compare the output ports of the device in this cycle.

        Raises
        ------
        MismatchError
            If a port differs.
        """
        compare(self.compared, ports, self.expected())

    def clock(self) -> None:
        """Pass a clock edge."""
        self.compared += 1
