"""A recorded layer, as the core gets it."""

import numpy as np
from numpy.typing import NDArray

from dtqatten.configuration.core import Config
from dtqatten.golden.cycles.layers import CoreLayer
from dtqatten.golden.numerics.attention import Options
from dtqatten.golden.numerics.codes import Codes, Granularity, quantize
from dtqatten.golden.numerics.gains import Gains
from dtqatten.golden.numerics.order import boundaries, promote
from dtqatten.golden.numerics.score_terms import no_biases
from dtqatten.golden.numerics.select import PAPER_SHARES, counts, select
from dtqatten.golden.traces.trace import Trace

__all__ = ["trace_layers"]


def trace_layers(config: Config, trace: Trace, layers: int = 2) -> list[CoreLayer]:
    """Return a recorded layer on its kept tokens, then on those that it chooses itself.

    One layer is recorded: a later one computes on the same Q, K and V, of the tokens that the core
    chose, clustered and promoted to full tiles.
    """
    granularity = Granularity.TOKEN if config.v_gains else Granularity.HEAD
    q, k, v = (
        quantize(x, granularity, gains=Gains.served(config, role))
        for role, x in zip("qkv", trace.gathered(), strict=True)
    )
    kept, n8 = np.arange(len(trace.kept)), int((trace.bits == 8).sum())
    result: list[CoreLayer] = []
    for _ in range(layers):
        n = len(kept)
        limits = boundaries(n - n8, n, config.rows, config.cols, config.group)

        def gathered(codes: Codes, places: NDArray[np.integer]) -> Codes:
            gains = None if codes.gains is None else codes.gains[:, places]
            return Codes(codes.codes[:, places], codes.scale, gains)

        keep, wide = counts(n, PAPER_SHARES)
        layer = CoreLayer(
            q=gathered(q, kept),
            k=gathered(k, kept),
            v=gathered(v, kept),
            q_bits=promote(limits.q, n),
            k_bits=promote(limits.k, n),
            v_bits=promote(limits.v, n),
            q_ids=trace.kept[kept],
            k_ids=trace.kept[kept],
            key_bias=no_biases(config, len(q.codes), n),
            biased=False,
            options=Options(
                p_planes=config.planes,
                unsigned_weights=config.unsigned_weights,
                block_exponents=config.block_exponents,
                signed_gains=config.signed_gains,
                output_bits=8,
                output_shift=2,
            ),
            k0=keep,
            k1=wide,
            report=True,
        )
        result.append(layer)
        chosen = select(layer.golden.importance, keep, wide)
        kept, n8 = kept[chosen.ids], wide
    return result
