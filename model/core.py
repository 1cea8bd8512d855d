"""Cycles of the core on a workload, by the cycle model that the RTL equals on every edge."""

from collections.abc import Callable
from dataclasses import dataclass

from dtqatten.configuration.core import Config
from dtqatten.golden.cycles.layers import CoreRun as Run
from dtqatten.model.workload import Workload, core_layer

__all__ = ["CoreRun", "fit", "run_core"]

#: Tokens up to which heads are short: they may wait for a bank.
SHORT = 128


@dataclass(frozen=True)
class CoreRun:
    """What a head takes.

    Attributes
    ----------
    head_cycles : int
        From the last output of one head to that of the next, operands a beat a cycle; of short
        heads the mean of two, since the banks that heads take turns in need not take equally long.
    first_head_cycles : int
        From the first operand offered to the last output of the first head.
    busy : dict of float
        Share of ``head_cycles`` in which each unit worked, see
        :class:`~dtqatten.golden.cycles.core.CoreModel`.
    limit_share : float
        4-bit products that the tokens kept cannot do without, over multipliers times
        ``head_cycles``: 1 is the physical limit. Tokens promoted to 8 bits count as 4-bit ones.
    """

    head_cycles: int
    first_head_cycles: int
    busy: dict[str, float]
    limit_share: float


def fit(config: Config, workload: Workload) -> Config:
    """Return the configuration with room for a workload: channels, and tokens if need be.

    Raises
    ------
    ConfigError
        If there is no such machine.
    """
    return config.replace(d_head=workload.d_head, n_max=max(config.n_max, workload.tokens))


def run_core(
    config: Config, workload: Workload, tell: Callable[[int], object] = lambda cycle: None
) -> CoreRun:
    """Run a few heads of a workload through the cycle model; ``tell`` hears every cycle.

    The first one fills the pipeline; all later ones take what the second one does, or the second
    and the third one in turns.

    Raises
    ------
    ConfigError
        If the configuration cannot be made to fit, see :func:`fit`.
    """
    config = fit(config, workload)
    later = 2 if workload.tokens <= SHORT else 1
    bench = Run(config, [core_layer(config, workload, heads=1 + later)])
    outputs, head = bench.taken["outputs"], bench.wanted["outputs"] // (1 + later)
    first, before = 0, dict(bench.model.busy)
    while len(outputs) < (1 + later) * head:
        bench.clock()
        tell(bench.model.cycle)
        if not first and len(outputs) == head:
            first, before = bench.model.cycle, dict(bench.model.busy)
    cycles = bench.model.cycle - first
    busy = {unit: (count - before[unit]) / cycles for unit, count in bench.model.busy.items()}
    useful = later * sum(workload.filled(config.cols).products)
    return CoreRun(-(-cycles // later), first, busy, useful / (config.multipliers * cycles))
