"""What ``dtqatten search`` searches, and what its trials can be compared by."""

from typing import TYPE_CHECKING, Any

from dtqatten.algorithm.policy import Policy

if TYPE_CHECKING:
    from dtqatten.algorithm.search.local_space import LocalSpace
    from dtqatten.algorithm.search.spaces import Space, SpattenSpace

__all__ = ["settings_of", "space_of"]


def space_of(
    base: Policy,
    vary: tuple[str, ...],
    groups: int | None,
    max_eight: float | None,
    max_zero: float | None,
    min_values: float | None,
) -> "Space":
    """Return the ratios that are searched."""
    from dtqatten.algorithm.search.spaces import Space

    return Space(
        base,
        groups or min(6, max(len(base.layers) - 1, 1)),
        1.0 if max_eight is None else max_eight,
        0.95 if max_zero is None else max_zero,
        1.0 if min_values is None else min_values,
        vary=vary,
    )


def settings_of(
    space: "Space | SpattenSpace | LocalSpace", choice: dict[str, Any]
) -> dict[str, Any]:
    """Return what trials can be compared by: the space, and what is chosen with it."""
    from dtqatten.algorithm.search.local_space import LocalSpace
    from dtqatten.algorithm.search.spaces import Space

    settings = {"vary": ", ".join(space.vary), **choice}
    if isinstance(space, Space):
        settings |= {
            "groups": space.groups,
            "max_eight": space.max_eight,
            "max_zero": space.max_zero,
        }
        # Studies without it are older, and go on; so below.
        if space.min_values < 1:
            settings["min_values"] = space.min_values
    elif isinstance(space, LocalSpace):
        settings |= {
            "method": "local",
            "min_values": space.min_values,
            "progressive": space.progressive,
        }
    else:
        settings |= {
            name: False for name in ("progressive", "prune_heads") if not getattr(space, name)
        }
    return settings
