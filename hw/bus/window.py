"""Address windows: the pages that reads, or writes, may access."""

from amaranth.hdl import Cat, Value, unsigned
from amaranth.lib import data

from dtqatten.configuration.system import SystemConfig
from dtqatten.interface.descriptor import PAGE_BYTES

__all__ = ["PAGE_BITS", "contains", "misplaced", "pages", "window_layout"]

#: Address bits within a page.
PAGE_BITS = PAGE_BYTES.bit_length() - 1


def window_layout(system: SystemConfig) -> data.StructLayout:
    """First and last page of a window; it is empty while ``limit < base``."""
    page = unsigned(system.address_bits - PAGE_BITS)
    return data.StructLayout({"base": page, "limit": page})


def pages(system: SystemConfig, base: Value, limit: Value) -> Value:
    """Return the window from byte ``base`` to byte ``limit``, neither of them misplaced."""
    return Cat(end[PAGE_BITS : system.address_bits] for end in (base, limit))


def misplaced(system: SystemConfig, base: Value, limit: Value) -> tuple[Value, Value]:
    """Return whether ``base`` is not the first byte of a page that exists; ``limit`` not the last.

    In either case :func:`pages` would drop bits that matter.
    """
    return (
        base[:PAGE_BITS].any() | base[system.address_bits :].any(),
        ~limit[:PAGE_BITS].all() | limit[system.address_bits :].any(),
    )


def contains(window: data.View, page: Value) -> Value:
    """Return whether a page lies in a window; all bits are compared."""
    return (page >= window.base) & (page <= window.limit)
