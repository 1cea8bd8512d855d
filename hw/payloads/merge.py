"""Payloads of the merger."""

from amaranth.hdl import signed, unsigned
from amaranth.lib import data

from dtqatten.configuration.core import Config
from dtqatten.hw.payloads.octaves import compared_bits
from dtqatten.hw.payloads.softmax import LEAD_BITS
from dtqatten.hw.payloads.sums import merged_divisor_bits, merged_lead

__all__ = ["FACTOR_BITS", "OCTAVES", "held_row_layout", "merge_step_layout", "merged_row_layout"]

#: Bits of a factor, of which ``2**16`` is one, and octaves from which on it is 0.
FACTOR_BITS = 17
OCTAVES = 32


def held_row_layout(config: Config) -> data.StructLayout:
    """What is held of a row between segments, beside its sums; a divisor of 0: it saw no key."""
    return data.StructLayout(
        {
            "maximum": signed(compared_bits(config)),
            "divisor": unsigned(merged_divisor_bits(config)),
            "lead": unsigned(LEAD_BITS),
        }
    )


def merge_step_layout(config: Config) -> data.StructLayout:
    """How a row's sums are merged: one side is scaled, the other one aligned.

    ``new_scaled``: the new side is scaled, by ``factor * 2**-(right + 1)``; the other one, times
    ``2**lead`` of merged sums, is shifted right by ``align``. ``fresh``: there is no old side.
    """
    most = FACTOR_BITS - 2 + OCTAVES - 1 - merged_lead(config) + (1 << LEAD_BITS) - 1
    return data.StructLayout(
        {
            "fresh": unsigned(1),
            "new_scaled": unsigned(1),
            "factor": unsigned(FACTOR_BITS),
            "right": range(most + 1),
            "align": unsigned(LEAD_BITS),
        }
    )


def merged_row_layout(config: Config, scale: data.StructLayout) -> data.StructLayout:
    """A row after a segment: the ``step`` of its sums, and whether they are divided then.

    ``place``: where it is held.

    Parameters
    ----------
    config : Config
    scale : StructLayout
        What sums are divided by: ``scale_layout`` of the normalizer. Without meaning unless
        ``last_segment``.
    """
    return data.StructLayout(
        {
            "step": merge_step_layout(config),
            "scale": scale,
            "last_segment": unsigned(1),
            "place": range(config.merge_rows),
        }
    )
