"""A lockstep run as arrays: inputs and what they must give, played without the cycle model."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dtqatten.sim.engines.bench import Bench
from dtqatten.sim.engines.verilated import Port, pack_words

__all__ = ["Play", "Recording", "record"]


@dataclass(frozen=True, eq=False)
class Play:
    """A bench that is run after a reset of some cycles, to its end or cut off after some."""

    bench: Bench
    reset_cycles: int = 1
    cycles: int | None = None


@dataclass(frozen=True, eq=False)
class Recording:
    """Cycles as :meth:`dtqatten.sim.engines.verilated.VerilatedModel.replay` takes them.

    Attributes
    ----------
    inputs, expected, care : array of uint32, [cycles, words]
    """

    inputs: NDArray[np.uint32]
    expected: NDArray[np.uint32]
    care: NDArray[np.uint32]

    def with_input(self, word: int, value: int) -> "Recording":
        """Return the recording with a word of the inputs set in every cycle."""
        inputs = self.inputs.copy()
        inputs[:, word] = value
        return Recording(inputs, self.expected, self.care)


def record(inputs: list[Port], outputs: list[Port], plays: Iterable[Play]) -> Recording:
    """Run benches one after the other against their own models.

    A device's outputs never influence a bench, so that what is recorded is what a lockstep run
    drives and compares.

    Raises
    ------
    RuntimeError
        If a bench has not ended at its deadline.
    """
    rows: list[tuple[bytes, bytes, bytes]] = []
    nothing = pack_words(outputs, {})
    full = {port.name: (1 << port.width) - 1 for port in outputs}
    for play in plays:
        bench = play.bench
        rows += [(pack_words(inputs, {"rst": 1}), nothing, nothing)] * play.reset_cycles
        cycle = 0
        while not bench.done and cycle != play.cycles:
            if cycle > bench.deadline:
                raise RuntimeError(f"the model has not finished after {cycle} cycles")
            expected = bench.expected()
            care = {name: full[name] for name in expected}
            rows.append(
                (
                    pack_words(inputs, bench.inputs()),
                    pack_words(outputs, expected),
                    pack_words(outputs, care),
                )
            )
            bench.clock()
            cycle += 1
    arrays = (np.frombuffer(b"".join(parts), np.uint32) for parts in zip(*rows, strict=True))
    return Recording(*(array.reshape(len(rows), -1) for array in arrays))
