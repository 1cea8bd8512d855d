"""Run a device under test beside the cycle model and compare them on every clock edge."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from amaranth.hdl import Shape, signed
from numpy.typing import NDArray

from dtqatten.configuration.core import CODE_MAX, CODE_MIN, Config
from dtqatten.golden.cycles.score_array import ArrayModel
from dtqatten.golden.cycles.streams import Source
from dtqatten.golden.cycles.tiles import load_beats
from dtqatten.hw.payloads.arrays import load_layout, score_row_layout
from dtqatten.sim.engines.bench import MismatchError, compare, noise
from dtqatten.sim.engines.ports import pack, pack_beat, pack_row

__all__ = ["Head", "Lockstep", "random_head"]


@dataclass(frozen=True, eq=False)
class Head:
    """One head's operands: balanced codes ``[n, d_head]`` and tokens at 8 bit, ``[n]``."""

    q: NDArray[np.integer]
    k: NDArray[np.integer]
    q_wide: NDArray[np.bool_]
    k_wide: NDArray[np.bool_]


def random_head(
    config: Config,
    rng: np.random.Generator,
    *,
    queries: int | None = None,
    keys: int | None = None,
    wide_share: float | None = None,
) -> Head:
    """Return a head of random codes.

    Parameters
    ----------
    config : Config
    rng : numpy.random.Generator
    queries, keys : int, optional
        Drawn by default.
    wide_share : float, optional
        Share of 8-bit tokens; drawn by default, 0 and 1 included.
    """

    def edge(n: int | None, lanes: int) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        n = int(rng.integers(1, min(config.n_max, 3 * lanes) + 1)) if n is None else n
        share = rng.choice([0.0, 0.3, 1.0]) if wide_share is None else wide_share
        # Extremes more often than a uniform draw would give them.
        codes = rng.choice([-120, 119, 0], size=(n, config.d_head))
        uniform = rng.integers(CODE_MIN, CODE_MAX + 1, size=codes.shape)
        return np.where(rng.random(codes.shape) < 0.9, uniform, codes), rng.random(n) < share

    q, q_wide = edge(queries, config.rows)
    k, k_wide = edge(keys, config.cols)
    return Head(q, k, q_wide, k_wide)


class Lockstep:
    """Heads streamed through the cycle model, and what a device must show meanwhile.

    A :class:`Bench`.

    Parameters
    ----------
    config : Config
    heads : sequence of Head
    stall : float
        Probability that a source pauses, and that the sink does not take a row, in a cycle.
    lazy : bool
        The sink is ready only after it has seen ``valid``.
    seed : int
        Of the stalls.
    monitored : bool
        Compare the observation ports too.
    clear : float
        Probability that the counters are zeroed in a cycle.

    Attributes
    ----------
    model : ArrayModel
    rows : list of Row
        Rows taken so far.
    compared : int
        Cycles compared.
    """

    def __init__(
        self,
        config: Config,
        heads: Sequence[Head],
        *,
        stall: float = 0.0,
        lazy: bool = False,
        seed: int = 0,
        monitored: bool = True,
        clear: float = 0.0,
    ) -> None:
        self.config = config
        self.model = ArrayModel(config)
        self.stall, self.lazy, self.monitored = stall, lazy, monitored
        self.rng = np.random.default_rng(seed)
        # Of their own, so that they do not move the stalls.
        self._noise, self._clears = np.random.default_rng([seed, 1]).spawn(2)
        self._clear_share, self._clear = clear, False
        q_beats = [b for head in heads for b in load_beats(config, head.q, head.q_wide)]
        k_beats = [b for head in heads for b in load_beats(config, head.k, head.k_wide)]
        self.q = Source(q_beats, stall, self.rng)
        self.k = Source(k_beats, stall, self.rng)
        self.rows: list = []
        self.expected_rows = sum(len(head.q) * -(-len(head.k) // config.cols) for head in heads)
        self.compared = 0
        # Nothing takes longer than this; a deadlock ends the run instead of hanging it.
        work = len(q_beats) + len(k_beats) + 4 * config.tile_interval * self.expected_rows
        latency = config.rows + config.cols + 100
        self.deadline = int((work + len(heads) * latency) * 4 / (1 - stall)) + 1000
        self._draw_ready()

    def _draw_ready(self) -> None:
        willing = bool(self.rng.random() >= self.stall)
        self.ready = willing and (not self.lazy or self.model.scores is not None)
        self._clear = bool(self._clears.random() < self._clear_share)

    @property
    def done(self) -> bool:
        """Whether all heads went in and all their rows came out."""
        return self.q.done and self.k.done and len(self.rows) == self.expected_rows

    def inputs(self) -> dict[str, int]:
        """Return the values of the input ports in this cycle."""
        ports = {"scores__ready": int(self.ready), "clear": int(self._clear)}
        for name, source in (("q", self.q), ("k", self.k)):
            beat, width = source.offered, Shape.cast(load_layout(self.config)).width
            ports[f"{name}__valid"] = int(beat is not None)
            ports[f"{name}__payload"] = (
                noise(self._noise, width) if beat is None else pack_beat(self.config, beat)
            )
        return ports

    def expected(self) -> dict[str, int]:
        """Return the values of the output ports in this cycle.

        The payload is left out while it is not valid.
        """
        model = self.model
        ports = {
            "q__ready": int(model.q_ready),
            "k__ready": int(model.k_ready),
            "scores__valid": int(model.scores is not None),
            "working": int(model.stepping),
            "steps": model.steps,
            "tiles": model.tiles,
            "mixed_tiles": model.mixed_tiles,
        }
        if model.scores is not None:
            layout = score_row_layout(self.config)
            ports["scores__payload"] = pack_row(layout, model.scores, "scores")
        if self.monitored:
            ports |= {
                "acc": pack(model.acc, signed(self.config.score_width), "acc"),
                "busy": pack(model.busy, 1),
                "stalled": pack(model.stalled, 1),
                "busy_cycles": pack(model.busy_cycles, 32, "busy_cycles"),
                "stall_cycles": pack(model.stall_cycles, 32, "stall_cycles"),
            }
        return ports

    def check(self, ports: Mapping[str, int]) -> None:
        """Compare the output ports of the device in this cycle.

        Raises
        ------
        MismatchError
            If a port differs, or the deadline has passed.
        """
        compare(self.model.cycle, ports, self.expected())
        self.compared += 1
        if self.compared > self.deadline:
            raise MismatchError(
                f"deadline: {len(self.rows)} of {self.expected_rows} rows "
                f"after {self.compared} cycles"
            )

    def clock(self) -> None:
        """Pass a clock edge."""
        model = self.model
        if model.scores is not None and self.ready:
            self.rows.append(model.scores)
        q_ready, k_ready = model.q_ready, model.k_ready
        model.clock(self.q.offered, self.k.offered, self.ready, clear=self._clear)
        self.q.clock(q_ready)
        self.k.clock(k_ready)
        self._draw_ready()
