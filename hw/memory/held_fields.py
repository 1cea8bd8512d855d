"""What writer and readers of a cache's importance know of a layer."""

from amaranth.hdl import ShapeLike, unsigned

from dtqatten.configuration.system import SystemConfig

__all__ = ["held_fields"]


def held_fields(system: SystemConfig) -> dict[str, ShapeLike]:
    """Where the importance of a ``held`` layer's keys is, and which of them are protected.

    The keys are ``listed``, ``four_bit`` of them in the 4-bit class, or all in order.
    """
    return {
        "held": unsigned(1),
        "held_base": unsigned(system.address_bits),
        "listed": unsigned(1),
        "four_bit": range(system.core.n_max + 1),
        "protect_first": unsigned(16),
        "protect_last": unsigned(16),
    }
