"""The stall study: how long PEs of mixed tiles wait, by the RTL's own counters."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dtqatten.configuration.core import Config
from dtqatten.golden.numerics.order import Order, arrange
from dtqatten.sim.engines.ports import unpack
from dtqatten.sim.lockstep.runs import run_heads
from dtqatten.sim.lockstep.score_array import Head

__all__ = ["StallStudy", "orders", "study"]


@dataclass(frozen=True, eq=False)
class StallStudy:
    """Stalls of one head, measured.

    Attributes
    ----------
    tiles : list of float
        Per tile, in row order: stall cycles of its PEs, in percent of PEs times the busy cycles
        of its slowest PE.
    mean_all, mean_stalled : float
        Mean of ``tiles``, over all and over those above zero (0 if there are none).
    cycles_per_step : float
        Cycles of all tiles, for one 4-bit product per PE.
    utilization : float
        Busy share of all PEs' cycles in tiles.
    cycles : int
        From the first operand in the array to the last score out.
    activity : array of uint8, [cycles, PEs]
        Per cycle and PE, row by row: 0 idle, 1 busy, 2 stalled.
    """

    tiles: list[float]
    mean_all: float
    mean_stalled: float
    cycles_per_step: float
    utilization: float
    cycles: int
    activity: NDArray[np.uint8]

    def as_dict(self) -> dict[str, object]:
        """Return the figures, without the activity."""
        fields = dataclasses.asdict(self)
        del fields["activity"]
        return fields


def orders(config: Config, bits: Sequence[int]) -> dict[str, StallStudy]:
    """Study tokens in every order; orders that make no difference share an entry.

    Raises
    ------
    ValueError
        As of :func:`study`.
    """
    found: dict[str, StallStudy] = {}
    for order in Order:
        one = study(config, bits, order)
        same = [
            name for name, other in found.items() if np.array_equal(other.activity, one.activity)
        ]
        name = f"{same[0].removesuffix(' order')} and {order} order" if same else f"{order} order"
        if same:
            del found[same[0]]
        found[name] = one
    return found


def study(config: Config, bits: Sequence[int], order: Order) -> StallStudy:
    """Run one head of tokens with these precisions through the RTL and read its counters.

    Raises
    ------
    ValueError
        If a precision is neither 4 nor 8, or there are more than ``n_max`` tokens.
    """
    _, q_bits, k_bits = arrange(bits, order, config.rows, config.cols)
    # Stalls depend on precisions alone; the codes only have to be there.
    codes = np.ones((len(bits), config.d_head), dtype=np.int64)
    pes = config.rows * config.cols
    history: list[dict[str, int]] = []
    run = run_heads(
        config,
        [Head(codes, codes, q_bits == 8, k_bits == 8)],
        observe=history.append,
        observed=("tiles", "busy", "stalled", "busy_cycles", "stall_cycles"),
    )

    def per_pe(name: str, width: int) -> NDArray[np.int64]:
        return np.stack([unpack(ports[name], width, pes) for ports in history])

    busy, stalled = per_pe("busy_cycles", 32), per_pe("stall_cycles", 32)
    started = np.array([ports["tiles"] for ports in history])
    # The tile counter moves one cycle after a tile's first step; PE (r, c) has counted all that
    # went before that step, and nothing of it, 2 + r + c // pod_cols cycles later.
    pods = np.arange(config.cols) // config.pod_cols
    lag = np.add.outer(np.arange(config.rows), pods).ravel() + 2
    starts = [int(np.argmax(started > tile)) for tile in range(run.tiles)]
    at = np.add.outer(starts, lag)
    pe = np.arange(pes)
    busy_at = np.concatenate([busy[at, pe], run.busy_cycles.reshape(1, pes)])
    stalled_at = np.concatenate([stalled[at, pe], run.stall_cycles.reshape(1, pes)])
    busy_in, stalled_in = np.diff(busy_at, axis=0), np.diff(stalled_at, axis=0)
    ratios = 100 * stalled_in.sum(axis=1) / (pes * busy_in.max(axis=1))
    some = ratios[ratios > 0]
    start, end = run.spans[0]
    activity = per_pe("busy", 1) + 2 * per_pe("stalled", 1)
    return StallStudy(
        tiles=ratios.tolist(),
        mean_all=float(ratios.mean()),
        mean_stalled=float(some.mean()) if len(some) else 0.0,
        cycles_per_step=run.steps / config.steps,
        utilization=float(run.busy_cycles.sum() / (pes * run.steps)),
        cycles=end - start + 1,
        activity=activity[start : end + 1].astype(np.uint8),
    )
