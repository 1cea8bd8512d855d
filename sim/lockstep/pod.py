"""Run a pod beside the cycle model of the grid and compare them on every clock edge."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import islice

import numpy as np
from amaranth.hdl import signed

from dtqatten.configuration.core import Config, Schedule
from dtqatten.configuration.limits import EXPONENT_MAX
from dtqatten.golden.cycles.grid import GridModel
from dtqatten.golden.cycles.tiles import Step, edges, idle_step, tile_steps
from dtqatten.hw.payloads.arrays import control_layout
from dtqatten.sim.engines.bench import compare
from dtqatten.sim.engines.ports import pack, pack_payload

__all__ = ["PodLockstep", "control_shift", "pe_width", "pod_config", "random_steps"]


def pod_config(config: Config) -> Config:
    """Return the configuration of a grid of one pod."""
    return config.replace(rows=1, cols=config.pod_cols, normalizer_lanes=None)


def control_shift(config: Config, step: Step) -> int:
    """Return the control word's shift for a step's factor."""
    power = (step.scale.bit_length() - 1) // 4
    return power if config.schedule is Schedule.INTERLEAVED else int(power == 1)


def pack_control(config: Config, step: Step) -> int:
    """Pack a step's control as :func:`dtqatten.hw.payloads.arrays.control_layout` lays it out."""
    fields = {"first": step.first, "shift": control_shift(config, step), "last": step.last}
    return pack_payload(control_layout(config), fields)


def random_steps(config: Config, rng: np.random.Generator, tiles: int) -> list[Step]:
    """Return the steps of a pod's dot products of every precision, with and without pauses.

    Codes are random ones and those at both ends of the range; where tiles have exponents, each step
    has one of its own.
    """
    config = pod_config(config)
    steps: list[Step] = []
    for _ in range(tiles):
        corner = rng.random() < 0.3
        (q,), (k,) = (
            edges(
                tokens,
                rng.choice([-120, 119], (tokens, 1)).repeat(config.d_head, 1)
                if corner
                else rng.integers(-120, 120, (tokens, config.d_head)),
                rng.random(tokens) < 0.5,
            )
            for tokens in (1, config.pod_cols)
        )
        for step in tile_steps(config, q, k):
            up = int(rng.integers(EXPONENT_MAX + 1)) if config.block_exponents else 0
            steps.append(replace(step, up=up))
        steps += [idle_step(config)] * int(rng.choice([0, 0, 3]))
    return steps


def pe_width(config: Config) -> int:
    """Bits of the accumulator of a PE that random steps go through."""
    return config.score_width + (EXPONENT_MAX if config.block_exponents else 0)


class PodLockstep:
    """Steps streamed through a grid of one pod, and what a device must show meanwhile.

    A :class:`dtqatten.sim.engines.bench.Bench`. A pod on its own is the grid's, from two cycles
    after a step is shown on: the step is then at its inputs.

    Parameters
    ----------
    config : Config
        With ``block_exponents``: of a PE of the value array.
    steps : sequence of Step
        Of one row and ``pod_cols`` columns.

    Attributes
    ----------
    compared : int
        Cycles compared.
    """

    def __init__(self, config: Config, steps: Sequence[Step]) -> None:
        self.config = pod_config(config)
        self.width = pe_width(config)
        self._grid = GridModel(self.config)
        self._steps = [*steps, *[self._grid.idle] * (self.config.product_stages + 3)]
        self._shown = 0
        self.deadline = len(self._steps)
        self.compared = 0
        # Cycles after which a step is at the pod's inputs, and at its outputs.
        self._input, self._output = self._grid.operand - 1, self._grid.operand
        for _ in range(self._input + 1):
            self._clock_grid()

    def _clock_grid(self) -> None:
        self._grid.clock(self._steps[self._shown] if self._shown < len(self._steps) else None)
        self._shown += 1

    @property
    def done(self) -> bool:
        """Whether all steps went in and the last sum was shown."""
        return self.compared >= len(self._steps)

    def inputs(self) -> dict[str, int]:
        """Return the values of the input ports in this cycle."""
        step, stages = self._grid.history[self._input], self.config.product_stages
        before = self._grid.history[self._input + stages]
        return {
            "q_i": pack(step.q, signed(4)),
            "k_i": pack(step.k, signed(4)),
            "control_i": pack_control(self.config, before),
            **self._exponent("exponent_i", before),
        }

    def _exponent(self, port: str, step: Step) -> dict[str, int]:
        """Return the exponent of a step, where tiles have one, by its port."""
        return {port: EXPONENT_MAX - int(np.max(step.up))} if self.config.block_exponents else {}

    def expected(self) -> dict[str, int]:
        """Return the values of the output ports in this cycle."""
        # Control is as far behind its operands as products take, the accumulator a cycle more.
        step, *_, before, summed = islice(
            self._grid.history, self._output, self._output + self.config.product_stages + 2
        )
        # In reset every step is a first one.
        control = pack_control(self.config, before) | int(self.compared == 0)
        acc = pack(self._grid.acc, signed(self.width), "acc")
        return {
            "q_o": pack(step.q, signed(4)),
            "k_o": pack(step.k, signed(4)),
            "control_o": control,
            "acc": acc,
            "drain": acc if summed.last else 0,
            # Nothing resets it.
            **(self._exponent("exponent_o", before) if self.compared else {}),
        }

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
        self._clock_grid()
        self.compared += 1
