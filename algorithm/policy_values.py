"""Values that the fields of a policy take, and the refusal of others."""

import enum
from typing import Any, TypeVar

from dtqatten.files.errors import UsageError

__all__ = ["Importance", "PolicyError", "Protect", "Pruned", "Ranking", "choice"]

Choice = TypeVar("Choice", bound=enum.StrEnum)


class PolicyError(UsageError):
    """A policy that cannot be used; the message names value, limit and way out."""


class Ranking(enum.StrEnum):
    """What orders the tokens of a sequence."""

    #: Attention probability received.
    IMPORTANCE = "importance"
    #: A random number a token: the control that shows what importance is worth.
    RANDOM = "random"
    #: Its place, first tokens first: the control that needs no ranking.
    FIRST = "first"


class Importance(enum.StrEnum):
    """Which blocks' probabilities make up the importance."""

    #: All earlier ones.
    CUMULATIVE = "cumulative"
    #: The one before.
    BLOCK = "block"


class Pruned(enum.StrEnum):
    """What becomes of a pruned token's hidden state."""

    #: Left out of everything that follows, pooling included.
    DROP = "drop"
    #: Kept as it was before the layer that pruned it.
    FREEZE = "freeze"
    #: Goes on through residual and feed-forward, with an attention output of 0.
    FFN = "ffn"


class Protect(enum.StrEnum):
    """Tokens that are never pruned and rank before all others."""

    FIRST = "first"
    LAST = "last"
    #: The tokenizer's special tokens.
    SPECIAL = "special"


def choice(name: str, value: Any, kind: type[Choice]) -> Choice:
    """Return a field's value as one of its kind; refuse what is none by the name of the field."""
    try:
        return kind(value)
    except ValueError:
        raise PolicyError(f"{name} is {value!r}: choose one of {', '.join(kind)}") from None
