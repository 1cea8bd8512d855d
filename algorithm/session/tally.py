"""Sums over what was computed, and the ratios that they make."""

from dataclasses import dataclass, field

__all__ = ["Tally"]


@dataclass
class Tally:
    """Sums over what was computed; ratios are to attention with all tokens and P in 8 bits.

    Parameters
    ----------
    tokens : list of float
        Tokens with 0, 4 and 8 bits, summed over layers.
    bit_operations, bit_operations_all : float
        Sum of bits times bits over the pairs of both products; the same with all in 8 bits.
    bit_operations_most : float
        The same with all in 8 bits and P as wide as the policy has it: nothing costs more.
    overhead : float
        Bit operations beside the products: biases of keys are added, exponents of tiles shift.
    bytes, bytes_all : float
        Bytes of Q, K and V fetched, gains and biases included; the same with all in 8 bits. Of
        decode steps, where queries are steps of their own.
    keys_tried, keys_flat : float
        Keys of the heads of K of progressive decode steps, and those whose low planes are read.
    rows, rows_again : float
        Rows of progressive layers, and those that were computed again.
    sequences : int
        Sequences seen.
    """

    tokens: list[float] = field(default_factory=lambda: [0.0, 0.0, 0.0])
    bit_operations: float = 0.0
    bit_operations_all: float = 0.0
    bit_operations_most: float = 0.0
    overhead: float = 0.0
    bytes: float = 0.0
    bytes_all: float = 0.0
    keys_tried: float = 0.0
    keys_flat: float = 0.0
    rows: float = 0.0
    rows_again: float = 0.0
    sequences: int = 0

    @property
    def shares(self) -> tuple[float, float, float]:
        """Shares of 0, 4 and 8-bit tokens, mean over layers."""
        total = sum(self.tokens) or 1.0
        zero, four, eight = (x / total for x in self.tokens)
        return zero, four, eight

    @property
    def bops_ratio(self) -> float:
        """Bit operations relative to attention in 8 bits: up to 1, or 1.25 with P in 12 bits.

        Raises
        ------
        RuntimeError
            If no block was computed, or more was counted than there is to compute.
        """
        if not 0 < self.bit_operations <= self.bit_operations_most * (1 + 1e-9):
            raise RuntimeError(
                f"{self.bit_operations:g} bit operations are counted, outside 0 to "
                f"{self.bit_operations_most:g}: run the attached model on a token at least, and "
                "report it if you did"
            )
        return self.bit_operations / self.bit_operations_all

    @property
    def flat(self) -> float:
        """Share of the low planes of K that progressive decode steps read."""
        return self.keys_flat / self.keys_tried if self.keys_tried else 0.0

    @property
    def overhead_ratio(self) -> float:
        """Bit operations beside the products, relative to the products in 8 bits."""
        return self.overhead / (self.bit_operations_all or 1.0)

    @property
    def bytes_ratio(self) -> float:
        """Bytes fetched relative to 8 bits."""
        return self.bytes / (self.bytes_all or 1.0)
