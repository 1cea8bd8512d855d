"""A simulated bus that looks at the machine's counters while the driver waits."""

import numpy as np
from numpy.typing import NDArray

from dtqatten.interface.registers import offset_of
from dtqatten.interface.units import Unit
from dtqatten.sim.machine.axi import SimulatedBus
from dtqatten.sim.machine.wrapped import WrappedBus

__all__ = ["SampledBus"]

#: What is sampled: counters of the machine, by the name under which they are shown.
SAMPLED = {
    "bus read": "read_beats",
    **{str(unit): f"{unit}_busy" for unit in Unit},
    "bus written": "write_beats",
}


class SampledBus(WrappedBus):
    """A simulated bus whose waits sample the counters.

    Reading a counter takes a few cycles of the simulated time, but none of the machine's: it works
    on meanwhile.

    Parameters
    ----------
    inner : SimulatedBus
    step : int
        Cycles between two samples, besides those that reading takes.

    Attributes
    ----------
    names : tuple of str
        What is sampled: cycles in which each unit worked, words of the bus.
    """

    names = tuple(SAMPLED)

    def __init__(self, inner: SimulatedBus, step: int = 16) -> None:
        super().__init__(inner)
        self.step = step
        self._cycles: list[int] = []
        self._values: list[list[int]] = []

    def wait(self) -> None:
        """Run until the interrupt line is high, and sample."""
        begun = self.inner.counters.cycles
        while not self.inner.interrupt:
            self._sample()
            self.inner.run(self.step, until_interrupt=True)
            if self.inner.counters.cycles - begun > self.inner.timeout:
                raise TimeoutError(f"no interrupt within {self.inner.timeout} cycles")
        self._sample()

    def _sample(self) -> None:
        self._cycles.append(self.inner.counters.cycles)
        self._values.append([self.inner.read_register(offset_of(r)) for r in SAMPLED.values()])

    def activity(self) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Return the shares of cycles in which each unit worked, or the bus moved a word.

        Returns
        -------
        int array ``[samples + 1]``
            Cycles of the edges of the samples, from 0.
        float array ``[names, samples]``
            Share of each sample's cycles, 0 to 1. The counters of a sample are read one after the
            other, so a share is right to within the cycles that this takes.
        """
        cycles, values = np.array(self._cycles), np.array(self._values, dtype=np.int64).T
        shares = np.diff(values) / np.diff(cycles)
        return cycles - cycles[0], np.clip(shares, 0, 1)

    def forget(self) -> None:
        """Forget the samples."""
        self._cycles.clear()
        self._values.clear()
