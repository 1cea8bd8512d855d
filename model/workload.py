"""What machines are compared on: a layer of attention and the precision of its tokens."""

from dataclasses import dataclass, field, replace

import numpy as np

from dtqatten.config import Config
from dtqatten.golden.algorithm.policy import Policy
from dtqatten.golden.attention import Options
from dtqatten.golden.codes import Codes
from dtqatten.golden.order import boundaries, promote, round_up_kept
from dtqatten.golden.select import PAPER_SHARES, counts
from dtqatten.sim.core import CoreLayer

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
    full_tiles : bool
        The core keeps as many tokens more as fit its last key tile: Q x K^T pays for their slots
        anyway, their queries and P x V cost cycles, accuracy gains.
    """

    tokens: int = 384
    d_head: int = 64
    shares: tuple[float, float, float] = field(default=PAPER_SHARES)
    follows: bool = False
    full_tiles: bool = False

    @property
    def macs(self) -> int:
        """Multiply-accumulates of the original model: Q x K^T and P x V, nothing skipped."""
        return 2 * self.tokens**2 * self.d_head

    @property
    def kept(self) -> tuple[int, int]:
        """Tokens with 4 and with 8 bits."""
        k0, k1 = counts(self.tokens, self.shares)
        return k0 - k1, k1

    @property
    def products(self) -> tuple[int, int]:
        """Products of 4 by 4 bits that Q x K^T and P x V cannot do without."""
        n4, n8 = self.kept
        weights = n4 + 4 * n8 if self.follows else 2 * (n4 + 2 * n8)
        return (n4 + 2 * n8) ** 2 * self.d_head, (n4 + n8) * weights * self.d_head

    def dense(self) -> "Workload":
        """Return the same with every token in 8 bits."""
        return replace(self, shares=(0.0, 0.0, 1.0))


def policy_workloads(policy: Policy, workload: Workload) -> list[Workload]:
    """Return a policy's layers on a workload's shape.

    Raises
    ------
    ValueError
        If the policy prunes what the core does not: heads, or values of single heads.
    """
    for number, layer in enumerate(policy.layers):
        if layer.heads < 1 or layer.values < 1 or layer.threshold is not None:
            raise ValueError(
                f"layer {number} prunes heads or values, or is progressive: the core computes all "
                "heads and values once; choose a policy that prunes tokens only"
            )
    return [
        replace(workload, shares=layer.shares, follows=policy.p_follows_token)
        for layer in policy.layers
    ]


def core_layer(config: Config, workload: Workload, heads: int) -> CoreLayer:
    """Return a workload as the core gets it: clustered, promoted to full tiles, random codes.

    The layer itself keeps the paper's shares for the next one.
    """
    rng = np.random.default_rng(0)
    k0, k1 = counts(workload.tokens, workload.shares)
    if workload.full_tiles:
        k0 = round_up_kept(k0, workload.tokens, config.cols)
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
        options=Options(p_planes=config.planes, p_follows_token=workload.follows),
        k0=keep,
        k1=wide,
    )
