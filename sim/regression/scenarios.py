"""Configurations, and scenarios of heads and stalls, for simulations."""

from dataclasses import dataclass

import numpy as np

from dtqatten.configuration.core import PRESETS, Config, Schedule
from dtqatten.files.errors import UsageError
from dtqatten.golden.numerics.codes import quantize
from dtqatten.golden.numerics.order import Order, arrange
from dtqatten.golden.traces.trace import Trace
from dtqatten.sim.lockstep.score_array import Head

__all__ = ["CORE_JOBS", "JOBS", "CoreScenario", "Scenario", "trace_heads"]


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """Heads streamed through an array, and how the streams stall.

    Parameters
    ----------
    seed : int
        Of heads and stalls.
    heads : int
        Random heads, one after the other.
    queries, keys : int or None
        Tokens of each head; drawn if None.
    wide_share : float or None
        Share of 8-bit tokens; drawn if None.
    stall : float
        Probability that a stream stalls in a cycle.
    lazy : bool
        Consumer is ready only after it has seen a row.
    trace : bool
        The heads of the committed trace in place of random ones.
    """

    seed: int = 0
    heads: int = 3
    queries: int | None = None
    keys: int | None = None
    wide_share: float | None = None
    stall: float = 0.0
    lazy: bool = False
    trace: bool = False


@dataclass(frozen=True, kw_only=True)
class CoreScenario:
    """Layers streamed through the core, and how the streams stall.

    Parameters
    ----------
    seed : int
        Of layers and stalls.
    layers : int
        Random layers, one after the other.
    heads, tokens : int or None
        Of each layer; drawn if None.
    share : float or None
        Share of 8-bit tokens; drawn if None.
    causal : bool or None
        Drawn if None.
    stall : float
        Probability that a stream stalls in a cycle.
    lazy : bool
        Consumers are ready only after they have seen a beat.
    trace : bool
        The committed trace, then the tokens that it chooses, in place of random layers.
    """

    seed: int = 0
    layers: int = 3
    heads: int | None = None
    tokens: int | None = None
    share: float | None = None
    causal: bool | None = None
    stall: float = 0.0
    lazy: bool = False
    trace: bool = False


def trace_heads(config: Config, trace: Trace, order: Order = Order.CLUSTERED) -> list[Head]:
    """Return the heads of a trace's kept tokens as the array gets them.

    Raises
    ------
    UsageError
        If the trace's heads do not fit the configuration.
    """
    if trace.d != config.d_head or len(trace.kept) > config.n_max:
        raise UsageError(
            f"the trace has {len(trace.kept)} tokens of {trace.d} channels, the configuration "
            f"takes up to {config.n_max} of {config.d_head}: choose d_head = {trace.d}"
        )
    # Kept tokens are stored by class; the order of the text is that of their ids.
    text_order = np.argsort(trace.kept)
    places, q_bits, k_bits = arrange(trace.bits[text_order], order, config.rows, config.cols)
    places = text_order[places]
    q, k, _ = trace.gathered()
    return [
        Head(q_codes[places], k_codes[places], q_bits == 8, k_bits == 8)
        for q_codes, k_codes in zip(quantize(q).codes, quantize(k).codes, strict=True)
    ]


def _sweep(config: Config) -> list[Scenario]:
    """Corners of one configuration, then random heads with and without stalls."""
    lanes_q, lanes_k = config.rows, config.cols
    corner = [
        # One token; one more than a tile; all tokens there can be.
        Scenario(seed=1, heads=2, queries=1, keys=1, wide_share=0.0),
        Scenario(
            seed=2,
            heads=2,
            queries=min(lanes_q + 1, config.n_max),
            keys=min(lanes_k + 1, config.n_max),
            wide_share=0.5,
        ),
        Scenario(seed=3, heads=1, queries=1, keys=config.n_max, wide_share=0.3),
        *(Scenario(seed=4, wide_share=share) for share in (0.0, 0.5, 1.0)),
    ]
    return [
        *corner,
        *(
            Scenario(seed=5 + i, stall=stall, lazy=lazy)
            for i, (stall, lazy) in enumerate(
                [(0.0, False), (0.0, True), (0.5, False), (0.5, True)]
            )
        ),
    ]


def _job(scenarios: list[Scenario] | None = None, **config: object) -> tuple[Config, list]:
    built = Config(**config)  # type: ignore[arg-type]
    return built, _sweep(built) if scenarios is None else scenarios


#: Configurations and what runs on each, for both simulators.
JOBS: list[tuple[Config, list[Scenario]]] = [
    (PRESETS["tiny"], [*_sweep(PRESETS["tiny"]), Scenario(trace=True, stall=0.3, seed=1)]),
    (
        PRESETS["tiny"].replace(schedule=Schedule.INTERLEAVED),
        _sweep(PRESETS["tiny"].replace(schedule=Schedule.INTERLEAVED)),
    ),
    # One PE; one lane each way; tiles shorter than their drain; odd words and parts.
    _job(rows=1, cols=1, depth=1, d_head=8, n_max=3),
    _job(rows=6, cols=1, depth=8, d_head=8, n_max=20),
    _job(rows=1, cols=5, depth=3, d_head=24, n_max=11, schedule=Schedule.INTERLEAVED),
    _job(rows=5, cols=3, depth=20, d_head=40, n_max=17),
    _job(rows=3, cols=4, depth=5, d_head=80, n_max=9, schedule=Schedule.INTERLEAVED),
    _job(rows=2, cols=3, depth=16, d_head=128, n_max=7),
    _job(rows=3, cols=2, depth=32, d_head=96, n_max=8),
    # The ends of the parameters' ranges.
    _job(rows=64, cols=1, depth=2, d_head=8, n_max=65),
    _job(rows=1, cols=128, depth=4, d_head=8, n_max=1, schedule=Schedule.INTERLEAVED),
    _job(
        [Scenario(heads=2, queries=1, keys=1024, wide_share=0.3), Scenario(stall=0.3)],
        rows=1,
        cols=2,
        depth=128,
        d_head=128,
        n_max=1024,
    ),
]


def _core_job(**config: object) -> tuple[Config, list[CoreScenario]]:
    built = Config(**config)  # type: ignore[arg-type]
    return built, [
        CoreScenario(seed=1, layers=1, heads=1, tokens=1),
        CoreScenario(seed=2, layers=1, heads=1, tokens=built.n_max, share=0.3),
        *(CoreScenario(seed=3, layers=1, share=share, causal=True) for share in (0.0, 1.0)),
        CoreScenario(seed=4, layers=2, heads=2),
        CoreScenario(seed=5, stall=0.4, lazy=True),
    ]


#: Configurations of the core and what runs on each, for both simulators.
CORE_JOBS: list[tuple[Config, list[CoreScenario]]] = [
    (PRESETS["tiny"], [CoreScenario(trace=True)]),
    _core_job(rows=1, cols=1, depth=1, d_head=8, n_max=3, topk_lanes=1),
    _core_job(rows=4, cols=4, depth=4, d_head=32, n_max=21),
    _core_job(rows=3, cols=6, depth=8, d_head=64, n_max=19, planes=3, v_gains=True),
    _core_job(
        rows=3,
        cols=5,
        depth=5,
        d_head=80,
        n_max=16,
        schedule=Schedule.INTERLEAVED,
        unsigned_weights=True,
        block_exponents=True,
        signed_gains=True,
    ),
    _core_job(rows=2, cols=8, depth=24, d_head=96, n_max=17, cumulative=True, topk_lanes=8),
    _core_job(rows=2, cols=3, depth=16, d_head=128, n_max=9, count_normalize=True),
    # A core that generates.
    _core_job(
        rows=3,
        cols=4,
        depth=4,
        d_head=16,
        n_max=15,
        capacity=200,
        windows=True,
        sinks=True,
        grouped=True,
        skip_tiles=True,
        topk_lanes=4,
    ),
    # Keys beyond ``n_max``.
    _core_job(
        rows=2,
        cols=2,
        depth=8,
        d_head=8,
        n_max=5,
        capacity=40,
        sinks=True,
        topk_lanes=2,
        merge_rows=4,
    ),
]
