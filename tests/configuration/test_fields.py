"""Every field of every configuration refuses what it cannot be, by name and with the way out."""

import dataclasses
import re
from typing import Any

import numpy as np
import pytest

from dtqatten.configuration.core import PRESETS, Config, ConfigError, Schedule, TopKEngine
from dtqatten.configuration.system import SystemConfig
from dtqatten.hw.payloads.topk import TopKConfig

#: A good value of each field; one of a class is missing: the test of all fields says so.
GOOD: dict[type, dict[str, Any]] = {
    Config: {
        **{
            "rows": 4,
            "cols": 4,
            "depth": 4,
            "d_head": 32,
            "n_max": 64,
            "value_depth": 3,
            "pod_cols": 2,
        },
        **{"product_stages": 1, "planes": 2, "heads": 16, "topk_lanes": 16},
        **{"unsigned_weights": True, "block_exponents": True},
        **{"load_bits": 64, "value_load_bits": 64, "normalizer_lanes": 3},
        **{"schedule": Schedule.INTERLEAVED, "v_gains": False, "cumulative": False},
        **{"signed_gains": True},
        **{"count_normalize": True, "capacity": 128, "windows": True, "sinks": True},
        **{
            "grouped": False,
            "skip_tiles": True,
            "held_importance": False,
            "merge_rows": 5,
            "bias_heads": 1,
            "head_pruning": False,
            "progressive": False,
        },
        **{"local_values": True, "topk_engine": TopKEngine.QUICK_SELECT, "chosen_values": False},
    },
    SystemConfig: {
        **{"core": PRESETS["tiny"], "bus_bits": 128, "address_bits": 40, "burst_beats": 16},
        "buffer_bursts": 4,
    },
    TopKConfig: {
        **{"lanes": 16, "n_max": 64, "score_width": 32, "index_bits": 6, "slow_logic": False},
        "engine": TopKEngine.QUICK_SELECT,
    },
}
NO_INTEGERS = (4.0, np.float64(4), True, np.True_, "4", b"4", None, [4], np.array([4, 4]), 1j)
OUT_OF_RANGE = (-1, 0, 2**64, np.int64(-1), np.uint64(2**63))
NO_BOOLEANS = (0, 1, 1.0, np.int64(1), "True", None, -1, 2**64)
NO_CHOICES = ("random", 0, True, 1.0, None, ["interleaved"], 2**64, -1)
NO_CORES = ("tiny", None, 1, True, 1.0, np.float64(1), Config, -1, 2**64)


def bad_values(good: object) -> tuple[Any, ...]:
    match good:
        case bool():
            return NO_BOOLEANS
        case Schedule() | TopKEngine():
            return NO_CHOICES
        case Config():
            return NO_CORES
    return (*NO_INTEGERS, *OUT_OF_RANGE)


CASES = [
    pytest.param(kind, name, bad, id=f"{kind.__name__}.{name}={bad!r}")
    for kind, fields in GOOD.items()
    for name, good in fields.items()
    for bad in bad_values(good)
    # None stands for what follows from other fields.
    if not (
        name in ("value_depth", "capacity", "normalizer_lanes", "value_load_bits") and bad is None
    )
    # 0 of them are none.
    and not (name in ("merge_rows", "bias_heads") and type(bad) is int and bad == 0)
]


@pytest.mark.parametrize("kind", GOOD)
def test_every_field_is_in_the_table(kind: type) -> None:
    assert set(GOOD[kind]) == {field.name for field in dataclasses.fields(kind)}
    kind(**GOOD[kind])


@pytest.mark.parametrize(("kind", "name", "bad"), CASES)
def test_a_bad_value_is_refused_by_name(kind: type, name: str, bad: object) -> None:
    """Field and value first, then what is wrong with it, then the way out."""
    with pytest.raises(ConfigError) as refusal:
        kind(**GOOD[kind] | {name: bad})
    shown = "|".join(re.escape(text(bad)) for text in (repr, str))
    way_out = r"give a Config|choose (one (of|in) \w|a value in that range|a power of two|True|64)"
    wrong = rf"{name} (is|must be an integer, not) ({shown})(, outside \d+\.\.\d+)?"
    assert re.match(f"{wrong}: ({way_out})", str(refusal.value)), refusal.value


@pytest.mark.parametrize("kind", GOOD)
def test_numbers_of_numpy_are_kept_as_those_of_python(kind: type) -> None:
    """So that hashes, JSON and messages are the same."""
    of_numpy = {
        name: np.bool_(good)
        if isinstance(good, bool)
        else np.int64(good)
        if isinstance(good, int)
        else good
        for name, good in GOOD[kind].items()
    }
    made = kind(**of_numpy)
    assert made == kind(**GOOD[kind])
    assert str(made) == str(kind(**GOOD[kind]))
    for name, good in GOOD[kind].items():
        assert type(getattr(made, name)) is type(good)


def test_an_enumeration_may_be_given_by_value() -> None:
    assert Config(**GOOD[Config] | {"schedule": "plane_major"}).schedule is Schedule.PLANE_MAJOR
