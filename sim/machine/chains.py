"""Random chains of layers for the whole machine."""

import numpy as np

from dtqatten.configuration.core import Config
from dtqatten.driver.layers import Layer
from dtqatten.golden.numerics.attention import Options
from dtqatten.golden.numerics.codes import Codes, quantize

__all__ = ["random_chain"]


def random_chain(
    config: Config,
    rng: np.random.Generator,
    *,
    layers: int,
    tokens: int | None = None,
    heads: int | None = None,
) -> list[Layer]:
    """Return a chain of random layers with random options, as the configuration has them.

    Parameters
    ----------
    config : Config
    rng : numpy.random.Generator
    layers : int
        Layers of the chain.
    tokens, heads : int, optional
        Of layers that are not chained, of all layers; drawn by default.
    """

    def flip(share: float = 0.5) -> bool:
        return bool(rng.random() < share)

    def pick(low: int, high: int) -> int:
        return (low, high, int(rng.integers(low, high + 1)))[int(rng.integers(3))]

    chain: list[Layer] = []
    for number in range(layers):
        chained = number > 0 and flip(0.8)
        if chained:
            before = chain[-1]
            stored = before.stored if not before.chained else chain[-2].k0
            count = before.k0
        else:
            stored = count = tokens or pick(1, config.n_max)
        kv_heads = heads or pick(1, min(3, config.heads))
        repeats = 1 if heads else pick(1, min(3, config.heads // kv_heads))

        def codes(many: int, gains: bool, n: int = stored) -> Codes:
            values = rng.normal(size=(many, n, config.d_head)) * rng.uniform(0.2, 2, (many, n, 1))
            return quantize(values, "token" if gains else "head")

        k0 = pick(1, count)
        eight = flip()
        cumulative = config.cumulative and flip(0.7)
        carried = chained and chain[-1].cumulative
        chain.append(
            Layer(
                q=codes(kv_heads * repeats, flip()),
                k=codes(kv_heads, flip()),
                v=codes(kv_heads, config.v_gains),
                k0=k0,
                k1=pick(0, k0),
                chained=chained,
                four_bit=0 if chained else pick(0, count),
                causal=flip(),
                report=flip(),
                cumulative=cumulative,
                fresh=cumulative and (not carried or flip(0.3)),
                ids=flip(0.8),
                options=Options(
                    p_planes=config.planes,
                    p_follows_token=flip(0.3),
                    p_follows_query=flip(0.3),
                    output_bits=8 if eight else 16,
                    output_shift=pick(0, 7) if eight else 0,
                    count_normalize=config.count_normalize and flip(),
                ),
            )
        )
    return chain
