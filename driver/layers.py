"""A layer of an encoder: queries, keys and values are of the same tokens."""

from collections.abc import Iterator
from dataclasses import dataclass

from dtqatten.driver.blocks import Block, Result
from dtqatten.driver.errors import LayoutError
from dtqatten.interface.descriptor import Flag

__all__ = ["Layer", "Result"]


@dataclass(frozen=True, eq=False, kw_only=True)
class Layer(Block):
    """One attention block on one list of tokens.

    Parameters
    ----------
    q : Codes ``[heads, stored, d_head]``
    k, v : Codes ``[kv_heads, stored, d_head]``
        All tokens that the previous layer computed, in its order.
    k0, k1, causal, report, cumulative, fresh, ids, keep_heads, heads_chained, key_bias,
    chosen_values, options
        As of :class:`~dtqatten.driver.blocks.Block`.
    chained : bool
        Compute on the tokens that the previous layer keeps; else on all ``stored``.
    four_bit : int
        Not chained: tokens in 4 bits, the first ones.

    Raises
    ------
    LayoutError
        If shapes disagree.
    """

    chained: bool = False
    four_bit: int = 0

    def __post_init__(self) -> None:
        q, k, v = self.q.codes.shape, self.k.codes.shape, self.v.codes.shape
        if len(q) != 3 or k != v or q[1:] != k[1:] or q[0] % k[0]:
            raise LayoutError(
                f"shapes disagree: Q {q}, K {k}, V {v}; give [heads, n, d] with tokens and "
                "channels alike, K and V with heads that divide those of Q"
            )

    @property
    def stored(self) -> int:
        """Tokens in the tensors."""
        return self.q.codes.shape[1]

    @property
    def limits(self) -> Iterator[tuple[int, str, str]]:
        """How many there are of something, its name, and the register that limits it."""
        yield self.stored, "tokens", "n_max"
        # How many a chained layer has is the machine's choice, which checks it itself.
        yield from self.biased
        yield from self.row_blocks(0 if self.chained else self.stored)

    @property
    def flags(self) -> Flag:
        """Flags of the descriptor."""
        return super().flags | (Flag.QUERY_CHAINED if self.chained else Flag(0))

    def fields(self, before: int, heads: int = 0) -> dict[str, int]:
        """Return the descriptor's fields but for addresses, ``next`` and ``ready``."""
        tokens = before if self.chained else self.stored
        four_bit = 0 if self.chained else self.four_bit
        return super().fields(before, heads) | {
            "queries": tokens,
            "query_four_bit": four_bit,
            "tokens": tokens,
            "four_bit": four_bit,
            "stored": self.stored,
            "capacity": self.stored,
        }
