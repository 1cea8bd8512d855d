"""Workloads to compare machines: a layer of attention and the precision of its tokens."""

from dataclasses import dataclass, field, replace

import numpy as np

from dtqatten.algorithm.policy import Policy
from dtqatten.configuration.core import Config
from dtqatten.files.errors import UsageError
from dtqatten.golden.cycles.layers import CoreLayer
from dtqatten.golden.numerics.attention import Options
from dtqatten.golden.numerics.codes import Codes, IntArray
from dtqatten.golden.numerics.local_values import SHARE_ALL
from dtqatten.golden.numerics.order import Boundaries, alternate, boundaries, promote, round_up_kept
from dtqatten.golden.numerics.score_terms import no_biases
from dtqatten.golden.numerics.select import PAPER_SHARES, counts

__all__ = ["Workload", "core_layer", "policy_workloads"]


@dataclass(frozen=True, kw_only=True)
class Workload:
    """Attention of one head after a layer that ranked the tokens.

    Parameters
    ----------
    tokens : int
        Tokens before pruning: queries and keys of the original model.
    d_head : int
        Channels of a head.
    shares : tuple of float
        Shares of 0, 4 and 8-bit tokens.
    follows : bool
        A weight of P x V has 4 bits where its token has.
    follows_query : bool
        Where its query has.
    value_share : int
        Groups of keys whose V a row block multiplies, in 1/256; on a core with ``local_values``.
    full_tiles : bool
        The core keeps as many tokens more as fit its last key tile: Q x K^T pays for their slots
        anyway, their queries and P x V cost cycles, accuracy gains.
    alternate : bool
        Row blocks of 4-bit and 8-bit queries alternate, so that neither array waits
        long for the other; outputs then come in that order. Else 4-bit ones first.
    """

    tokens: int = 384
    d_head: int = 64
    shares: tuple[float, float, float] = field(default=PAPER_SHARES)
    follows: bool = False
    follows_query: bool = False
    value_share: int = SHARE_ALL
    full_tiles: bool = False
    alternate: bool = True

    @property
    def macs(self) -> int:
        """Multiply-accumulates of the original model: Q x K^T and P x V, nothing skipped."""
        return 2 * self.tokens**2 * self.d_head

    def filled(self, cols: int) -> "Workload":
        """Return the workload whose shares are those of the tokens kept, with ``full_tiles``."""
        if not self.full_tiles:
            return self
        k0, k1 = counts(self.tokens, self.shares)
        k0 = round_up_kept(k0, self.tokens, cols)
        parts = (self.tokens - k0, k0 - k1, k1)
        zero, four, eight = (part / self.tokens for part in parts)
        return replace(self, shares=(zero, four, eight))

    @property
    def kept(self) -> tuple[int, int]:
        """Tokens with 4 and with 8 bits."""
        k0, k1 = counts(self.tokens, self.shares)
        return k0 - k1, k1

    @property
    def products(self) -> tuple[int, int]:
        """Products of 4 by 4 bits that Q x K^T and P x V cannot do without."""
        n4, n8 = self.kept
        # Of a query in 8 bits, and of one in 4.
        wide = n4 + 4 * n8 if self.follows else 2 * (n4 + 2 * n8)
        narrow = n4 + 2 * n8 if self.follows_query else wide
        values = (n4 * narrow + n8 * wide) * self.d_head
        return (n4 + 2 * n8) ** 2 * self.d_head, values * self.value_share // SHARE_ALL

    def clustered(self, config: Config) -> tuple[Boundaries, int]:
        """Return the class boundaries of the tokens that a core keeps, and how many these are."""
        k0, k1 = counts(self.tokens, self.filled(config.cols).shares)
        return boundaries(k0 - k1, k0, config.rows, config.cols, config.group), k0

    def dense(self) -> "Workload":
        """Return the same with every token in 8 bits."""
        return replace(self, shares=(0.0, 0.0, 1.0))


def policy_workloads(policy: Policy, workload: Workload) -> list[Workload]:
    """Return a policy's layers on a workload's shape.

    Raises
    ------
    UsageError
        If the policy prunes heads, which workloads do not count, or is progressive.
    """
    for number, layer in enumerate(policy.layers):
        if layer.heads < 1 or layer.threshold is not None:
            raise UsageError(
                f"layer {number} prunes heads or is progressive, and a workload is a head that is "
                "computed once: choose a policy that prunes tokens and values only"
            )
    return [
        replace(
            workload,
            shares=layer.shares,
            follows=policy.p_follows_token,
            follows_query=policy.p_follows_query,
            value_share=layer.value_share,
        )
        for layer in policy.layers
    ]


def core_layer(config: Config, workload: Workload, heads: int) -> CoreLayer:
    """Return a workload as the core gets it: clustered, promoted to full tiles, random codes.

    The layer itself keeps the paper's shares for the next one.
    """
    rng = np.random.default_rng(0)
    limits, k0 = workload.clustered(config)

    def codes() -> Codes:
        values = rng.integers(-120, 120, (heads, k0, config.d_head)).astype(np.int8)
        return Codes(values, np.full(heads, 1e-3))

    queries: IntArray = np.arange(k0)
    if workload.alternate:
        queries = alternate(limits.q, k0, config.rows)
    keep, wide = counts(k0, PAPER_SHARES)
    layer = CoreLayer(
        q=codes(),
        k=codes(),
        v=codes(),
        q_bits=promote(limits.q, k0)[queries],
        k_bits=promote(limits.k, k0),
        v_bits=promote(limits.v, k0),
        q_ids=queries,
        k_ids=np.arange(k0),
        key_bias=no_biases(config, heads, k0),
        biased=False,
        options=Options(
            p_planes=config.planes,
            unsigned_weights=config.unsigned_weights,
            block_exponents=config.block_exponents,
            signed_gains=config.signed_gains,
            p_follows_token=workload.follows,
            p_follows_query=workload.follows_query,
            value_share=workload.value_share,
        ),
        k0=keep,
        k1=wide,
    )
    return replace(layer, tiling=layer.tiled(config))
