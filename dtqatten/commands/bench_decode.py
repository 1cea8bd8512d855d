"""``dtqatten bench --part decode``: which steps are asked for, and their tables."""

import json
from collections.abc import Callable, Mapping
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

from dtqatten.files.errors import UsageError
from dtqatten.files.whole import write_text

__all__ = ["DecodeAsked", "decode_figures", "decode_tables"]

#: Figures of a step, and of one that chooses V.
FIGURES = (
    "bus_busy",
    "bus_busy_chained",
    "tail",
    "bytes_ratio",
    "cycles_per_token",
    "tokens_per_s_per_gb_s",
)
CHOICE_FIGURES = ("cycles", "bus_busy", "tail", "bytes_ratio", "cycles_per_token")


@dataclass(frozen=True)
class DecodeAsked:
    """Steps that are asked for; of what is None, all.

    Parameters
    ----------
    model, keys, share, bus_bits : list, optional
        Shapes, lengths of the cache, precisions of keys, widths of the bus.
    local_value_share : float, optional
        Share of V of steps that choose it; None is steps that do not.
    """

    model: list[str] | None = None
    keys: list[int] | None = None
    share: list[str] | None = None
    bus_bits: list[int] | None = None
    local_value_share: float | None = None

    @property
    def any(self) -> bool:
        """Whether anything is."""
        return any(astuple(self))


def decode_figures(tell: Callable[[str], object], path: Path, asked: DecodeAsked) -> dict[str, Any]:
    """Measure decode steps on the arrays of preset base; keep each as soon as it is measured.

    Parameters
    ----------
    tell : callable
        Hears what is done.
    path : Path
        File that holds what has been measured. Steps that choose V are under ``choice``.
    asked : DecodeAsked

    Raises
    ------
    UsageError
        If a step is asked for that is not measured.
    """
    from dtqatten.configuration.core import PRESETS
    from dtqatten.sim.studies.choice_bench import measure_choices
    from dtqatten.sim.studies.decode_bench import BUS_BITS, LENGTHS, SHAPES, SHARES, measure_decode

    choosing = asked.local_value_share is not None
    lengths = LENGTHS[:1] if choosing else LENGTHS
    for name, given, there in (
        ("model", asked.model, SHAPES),
        ("keys", asked.keys, lengths),
        ("share", asked.share, SHARES),
        ("bus-bits", asked.bus_bits, BUS_BITS),
    ):
        for one in given or ():
            if one not in there:
                known = ", ".join(map(repr, there))
                raise UsageError(f"--{name} is {one!r}, which is not measured: use one of {known}")
    before: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}

    def keep(result: dict[str, Any]) -> None:
        write_text(path, json.dumps(before | result, indent=2) + "\n")

    shapes, shares = asked.model or tuple(SHAPES), asked.share or tuple(SHARES)
    buses = asked.bus_bits or BUS_BITS
    if asked.local_value_share is not None:
        found = measure_choices(
            PRESETS["base"],
            tell,
            asked.local_value_share,
            shapes=shapes,
            shares=shares,
            buses=buses,
            known=before.get("choice", ()),
            keep=lambda steps: keep({"choice": steps}),
        )
        return before | {"choice": found}
    measured = [s for s in before.get("steps", ()) if "machine" in s]
    return before | measure_decode(
        PRESETS["base"],
        tell,
        lengths=asked.keys or LENGTHS,
        shapes=shapes,
        shares=shares,
        buses=buses,
        known=measured,
        keep=keep,
    )


def decode_tables(result: Mapping[str, Any], plain: Callable[..., Any]) -> list[Any]:
    """Return the tables of what has been measured.

    Parameters
    ----------
    result : mapping
        Of :func:`decode_figures`.
    plain : callable
        Makes a table of title, rows and heads.
    """

    def rows(steps: list[dict[str, Any]], figures: tuple[str, ...], *names: str) -> dict[str, Any]:
        return {
            ", ".join(str(s[name]) for name in names) + f", {s['bus_bits']} bits": {
                name: s.get(name, "-") for name in figures
            }
            for s in steps
        }

    tables = []
    if steps := result.get("steps"):
        found = rows(steps, FIGURES, "model", "tokens", "share")
        tables.append(plain("decode steps, latency 60", found, "model, keys, bits, bus", *FIGURES))
    if steps := result.get("choice"):
        found = rows(steps, CHOICE_FIGURES, "model", "tokens", "share", "value_share", "way")
        title = "decode steps that choose V, latency 60"
        tables.append(plain(title, found, "model, keys, bits, V, way, bus", *CHOICE_FIGURES))
    return tables
