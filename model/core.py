"""Cycles of the core on a workload, by the cycle model that the RTL equals on every edge."""

from dataclasses import dataclass, replace

from dtqatten.configuration.core import Config
from dtqatten.golden.cycles.core_run import CoreRun as Run
from dtqatten.golden.cycles.layers import CoreLayer
from dtqatten.golden.numerics.local_values import SHARE_ALL
from dtqatten.model.workload import Workload, core_layer

__all__ = ["CoreRun", "causal_cycles", "fit", "local_cycles", "run_core"]

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
    """Return the configuration with room for a workload, and local values if it has them.

    Room is channels, and tokens if need be.

    Raises
    ------
    ConfigError
        If there is no such machine.
    """
    if workload.value_share < SHARE_ALL:
        config = config.replace(skip_tiles=True, local_values=True)
    return config.replace(d_head=workload.d_head, n_max=max(config.n_max, workload.tokens))


def run_core(config: Config, workload: Workload) -> CoreRun:
    """Run a few heads of a workload through the cycle model.

    The first one fills the pipeline; all later ones take what the second one does, or the second
    and the third one in turns.

    Raises
    ------
    ConfigError
        If the configuration cannot be made to fit, see :func:`fit`.
    """
    config = fit(config, workload)
    later = 2 if workload.tokens <= SHORT else 1
    first, cycles, busy = _later_heads(config, core_layer(config, workload, heads=1 + later))
    useful = later * sum(workload.filled(config.cols).products)
    return CoreRun(-(-cycles // later), first, busy, useful / (config.multipliers * cycles))


def causal_cycles(config: Config, tokens: int) -> tuple[int, int]:
    """Return cycles of a head that is causal, and of one that is not, on a core that skips tiles.

    Heads are later ones of 4-bit tokens, in the order of their positions.
    """
    config = config.replace(skip_tiles=True)
    workload = Workload(tokens=tokens, d_head=config.d_head, shares=(0.0, 1.0, 0.0))
    layer = core_layer(config, workload, heads=2)
    causal, full = (
        _later_heads(config, replace(layer, causal=causal))[1] for causal in (True, False)
    )
    return causal, full


def local_cycles(config: Config, tokens: int, share: int) -> int:
    """Return cycles of a head whose row blocks multiply V of a share of their groups.

    It is a later one of 4-bit tokens, whose weights have 8 bits.

    Parameters
    ----------
    config : Config
    tokens : int
    share : int
        In 1/256 of the groups with a weight.
    """
    config = config.replace(skip_tiles=True, local_values=True)
    four = Workload(tokens=tokens, d_head=config.d_head, shares=(0.0, 1.0, 0.0), value_share=share)
    return _later_heads(config, core_layer(config, four, heads=2))[1]


def _later_heads(config: Config, layer: CoreLayer) -> tuple[int, int, dict[str, float]]:
    """Return cycles of a layer's first head and of all later ones, and what worked in these."""
    bench = Run(config, [layer])
    outputs, wanted = bench.taken["outputs"], bench.wanted["outputs"]
    head = wanted // len(layer.k.codes)
    first, before = 0, dict(bench.model.busy)
    while len(outputs) < wanted:
        bench.clock()
        if not first and len(outputs) == head:
            first, before = bench.model.cycle, dict(bench.model.busy)
    cycles = bench.model.cycle - first
    busy = {unit: (count - before[unit]) / cycles for unit, count in bench.model.busy.items()}
    return first, cycles, busy
