"""Cycle model of the PEs of an array."""

from collections import deque

import numpy as np
from numpy.typing import NDArray

from dtqatten.configuration.core import Config, Schedule
from dtqatten.golden.cycles.tiles import Step, idle_step

__all__ = ["GridModel"]


class GridModel:
    """The PEs: what each does with the steps issued so far.

    Parameters
    ----------
    config : Config
    observed : bool
        Follow the accumulators; if not they stay 0, and a cycle takes a tenth of the time.

    Attributes
    ----------
    acc : array of int64, [rows, cols]
        Accumulators.
    operand : int
        Cycles from a step to its operands in PE (0, 0).
    """

    def __init__(self, config: Config, *, observed: bool = True) -> None:
        self.config, self.observed = config, observed
        self.idle = idle_step(config)
        #: Stands for any step where nobody looks at what it does.
        self.unobserved = idle_step(config)
        self.acc = np.zeros((config.rows, config.cols), dtype=np.int64)
        # The step of PE (r, c) is the one issued r + c // pod_cols cycles before that of PE (0, 0).
        self.operand = 3 + config.timing.word_stages
        self._sum = self.operand + 1 + config.product_stages  # to the sum in the accumulator
        self._lag = np.add.outer(np.arange(config.rows), np.arange(config.cols) // config.pod_cols)
        # Steps by age; index 0 is the step shown in this cycle.
        depth = config.rows + config.hops + self._sum
        self.history: deque[Step] = deque([self.idle] * depth, maxlen=depth)

    @property
    def stepping(self) -> bool:
        """Whether a step is shown in this cycle."""
        return self.history[0] is not self.idle

    def _gather(self, age: int, attribute: str) -> NDArray:
        """Return ``attribute`` of the steps at every lag: entry ``l`` is of age ``age + l``."""
        lags = range(age, age + self.config.rows + self.config.hops - 1)
        return np.array([getattr(self.history[i], attribute) for i in lags])

    def both(self, flag: str) -> NDArray[np.bool_]:
        """Return for each PE whether both its operands have a flag."""
        q, k = (self._gather(self.operand, f"{side}_{flag}") for side in ("q", "k"))
        rows, cols = np.indices(self._lag.shape)
        return q[self._lag, rows] & k[self._lag, cols]

    def clock(self, step: Step | None) -> None:
        """Pass a clock edge; ``step`` is shown after it."""
        if self.observed:
            self._multiply()
        self.history.appendleft(self.idle if step is None else step)

    def _multiply(self) -> None:
        age = self._sum - 1  # the history has not moved yet
        rows, cols = np.indices(self._lag.shape)
        q = self._gather(age, "q")[self._lag, rows]
        k = self._gather(age, "k")[self._lag, cols]
        first = self._gather(age, "first")[self._lag]
        scale = self._gather(age, "scale")[self._lag]
        dot = (q * k).sum(axis=-1)
        if self.config.block_exponents:
            ups = [self.history[age + lag].up for lag in range(self._lag.max() + 1)]
            dot <<= np.stack([np.broadcast_to(up, rows.shape[:1]) for up in ups])[self._lag, rows]
        kept = np.where(first, 0, self.acc)
        if self.config.schedule is Schedule.INTERLEAVED:
            self.acc = kept + dot * scale
        else:
            self.acc = kept * scale + dot
