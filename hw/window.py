"""Address windows: the pages that a direction may touch."""

from amaranth.hdl import Value, unsigned
from amaranth.lib import data

from dtqatten.descriptor import PAGE_BYTES
from dtqatten.system_config import SystemConfig

__all__ = ["PAGE_BITS", "contains", "window_layout"]

#: Address bits within a page.
PAGE_BITS = PAGE_BYTES.bit_length() - 1


def window_layout(system: SystemConfig) -> data.StructLayout:
    """First and last page of a window; it is empty while ``limit < base``."""
    page = unsigned(system.address_bits - PAGE_BITS)
    return data.StructLayout({"base": page, "limit": page})


def contains(window: data.View, page: Value) -> Value:
    """Return whether a page, of as many bits as it has, lies in a window."""
    return (page >= window.base) & (page <= window.limit)
