"""Benchmark of the core: a layer of the reference workload, on RTL and cycle model at once."""

from collections.abc import Callable
from typing import Any

import numpy as np

from dtqatten.config import Config
from dtqatten.golden.codes import Codes
from dtqatten.golden.order import boundaries, promote, round_up_kept
from dtqatten.golden.select import PAPER_SHARES, counts
from dtqatten.sim.core import CoreLayer, CoreLockstep, build_core

__all__ = ["measure_core", "reference_layer"]

TOKENS, HEADS = 384, 12


def reference_layer(config: Config, heads: int = HEADS, tokens: int = TOKENS) -> CoreLayer:
    """Return a layer after one that kept the paper's shares: clustered, promoted to full tiles."""
    rng = np.random.default_rng(0)
    k0, k1 = counts(tokens, PAPER_SHARES)
    k0 = round_up_kept(k0, tokens, config.cols)
    limits = boundaries(k0 - k1, k0, config.rows, config.cols, config.depth)

    def codes() -> Codes:
        values = rng.integers(-120, 120, (heads, k0, config.d_head)).astype(np.int8)
        return Codes(values, np.full(heads, 1e-3))

    keep, wide = counts(k0, PAPER_SHARES)
    return CoreLayer(
        q=codes(),
        k=codes(),
        v=codes(),
        q_bits=promote(limits.q, k0),
        k_bits=promote(limits.k, k0),
        v_bits=promote(limits.v, k0),
        q_ids=np.arange(k0),
        k_ids=np.arange(k0),
        k0=keep,
        k1=wide,
    )


def measure_core(config: Config, heads: int, tell: Callable[[int], object]) -> dict[str, Any]:
    """Run the layer with nothing stalled and compare every cycle; ``tell`` hears every thousandth.

    Raises
    ------
    MismatchError
        If RTL and cycle model differ.
    """
    layer = reference_layer(config, heads)
    bench = CoreLockstep(config, [layer])

    def each() -> None:
        if bench.compared % 1000 == 0:
            tell(bench.compared)

    build_core(config).run(bench, each)
    bench.verify()
    ends = {name: beats[-1][0] for name, beats in bench.taken.items() if beats}
    cycles = ends["outputs"] + 1
    return {
        "config": str(config),
        "tokens": TOKENS,
        "kept": len(layer.k_ids),
        "heads": heads,
        "shares": PAPER_SHARES,
        "cycles": cycles,
        "cycles_to_ids": ends["ids"] + 1,
        "busy_fraction": {unit: busy / cycles for unit, busy in bench.model.busy.items()},
        "module_b_overhead": max(0, ends["ids"] + 1 - cycles) / cycles,
    }
