"""The checker: each code for its own bad field, and good neighbours at every limit."""

import numpy as np
import pytest

from checker_model import (
    ADDRESS,
    ADDRESS_BITS,
    BEFORE,
    BIASED,
    CHAINED,
    CHOOSING,
    CHOSEN,
    FIRST,
    FULL,
    GAINED,
    GOOD,
    LISTED,
    MERGED,
    PLAIN,
    PRUNED,
    READ,
    SEGMENT,
    UNSIGNED,
    WRITE,
    Case,
    check,
    regions,
    served,
)
from dtqatten import Config
from dtqatten.hw.memory.descriptor import descriptor_layout
from dtqatten.interface.descriptor import FIELDS, SIZE, Flag, pack
from dtqatten.interface.registers import ErrorCode


def test_layout_has_every_field_at_its_place() -> None:
    layout = descriptor_layout()
    for i, f in enumerate(FIELDS):
        value = layout.from_bits(int.from_bytes(pack({f.name: i + 1}), "little"))
        assert getattr(value, f.name) == i + 1


def test_good_descriptors_pass() -> None:
    cases = [Case(GOOD), Case(CHAINED, BEFORE), Case(GOOD, BEFORE), Case(LISTED)]
    cases.append(Case(GOOD | {"heads": 1, "kv_heads": 1, "queries": 1, "query_four_bit": 1,
                              "stored": 1, "capacity": 1, "tokens": 1, "four_bit": 0,
                              "k0": 1, "k1": 0, "next": 0}))  # fmt: skip
    # Chained keys, queries of their own; a query of all that there may be.
    cases.append(Case(CHAINED | {"flags": Flag.CHAINED, "queries": 7, "query_four_bit": 7,
                                 "query_start": 100}, BEFORE))  # fmt: skip
    cases.append(Case(CHAINED | {"flags": Flag.CHAINED | Flag.QUERY_LIST, "queries": 1}, BEFORE))
    cases.append(Case(LISTED | {"tokens": 100, "stored": 104, "queries": 100}))
    # What its flag does not ask for may be anywhere.
    unused = dict.fromkeys(("q_gains", "k_gains", "query_list", "key_list", "ids", "importance"),
                           (1 << 64) - 1)  # fmt: skip
    cases.append(Case(GOOD | unused | {"flags": Flag.CODES, "v_gains": 1}))
    assert set(check(FULL, cases)) == {ErrorCode.NONE}


@pytest.mark.parametrize(
    ("code", "bad", "good"),
    [
        (ErrorCode.FLAGS, {"output_shift": (1, 7, 8, 0xFFFF)}, {"output_shift": (0,)}),
        (ErrorCode.NO_HEADS, {"heads": (0,)}, {"heads": (18, 36)}),
        (ErrorCode.TOO_MANY_HEADS, {"heads": (37, 54, 0xFFFF)}, {}),
        (ErrorCode.KV_HEADS, {"kv_heads": (0, 5, 24, 35, 37, 72)}, {"kv_heads": (1, 2, 4, 36)}),
        (ErrorCode.NO_TOKENS, {"queries": (0,), "stored": (0,), "tokens": (0,)}, {}),
        (ErrorCode.TOO_MANY_TOKENS, {"queries": (101, 128, 0xFFFF), "tokens": (101, 0xFFFF)}, {}),
        (ErrorCode.TOKENS, {"stored": (99, 101, 1 << 31), "tokens": (91, 99)}, {}),
        (ErrorCode.TOKENS, {"four_bit": (101, 0xFFFF)}, {"four_bit": (0, 100)}),
        (ErrorCode.K0, {"k0": (0, 101, 0xFFFF)}, {"k0": (90, 100)}),
        (ErrorCode.K1, {"k1": (91, 100, 0xFFFF)}, {"k1": (0, 90)}),
        (ErrorCode.QUERIES, {"query_four_bit": (101, 0xFFFF)}, {"query_four_bit": (0, 100)}),
        (
            ErrorCode.CAPACITY,
            {"capacity": (0, 99, 111, 65536 + 104, 1 << 31)},
            {"capacity": (100, 110)},
        ),
        (
            ErrorCode.POSITIONS,
            {"query_start": (11, 100, 65536, (1 << 32) - 1, (1 << 32) - 100)},
            {"query_start": (0, 10)},
        ),
        (ErrorCode.CHAIN, {"next": (ADDRESS, ADDRESS - 64, 64)}, {"next": (0, ADDRESS + 64)}),
    ],
)
def test_each_code_has_its_field(code: ErrorCode, bad: dict, good: dict) -> None:
    for changes, expected in ((bad, code), (good, ErrorCode.NONE)):
        cases = [Case(GOOD | {name: v}) for name, values in changes.items() for v in values]
        assert {*check(FULL, cases)} <= {expected}


def test_codes_may_be_shifted() -> None:
    codes = GOOD | {"flags": GOOD["flags"] | Flag.CODES}
    cases = [Case(codes | {"output_shift": shift}) for shift in (0, 1, 7, 8, 9, 0xFFFF)]
    assert check(FULL, cases) == [ErrorCode.NONE] * 3 + [ErrorCode.FLAGS] * 3


def test_a_window_sees_a_position_at_least() -> None:
    windowed = GOOD | {"flags": GOOD["flags"] | Flag.WINDOW}
    sizes = (1, 110, 65535, 65536, 0, 65537, 1 << 31)
    cases = [Case(windowed | {"window": size}) for size in sizes]
    assert check(FULL, cases) == [ErrorCode.NONE] * 4 + [ErrorCode.FLAGS] * 3
    cases = [Case(GOOD | {"window": size}) for size in sizes]
    wanted = [ErrorCode.NONE if size == 0 else ErrorCode.FLAGS for size in sizes]
    assert check(FULL, cases) == wanted


def test_a_share_of_groups_is_less_than_all() -> None:
    some = GOOD | {"flags": GOOD["flags"] | Flag.LOCAL_VALUES}
    shares = (1, 128, 255, 0, 256, 0xFFFF)
    cases = [Case(some | {"value_share": share}) for share in shares]
    assert check(FULL, cases) == [ErrorCode.NONE] * 3 + [ErrorCode.FLAGS] * 3
    cases = [Case(GOOD | {"value_share": share}) for share in shares]
    wanted = [ErrorCode.NONE if share == 0 else ErrorCode.FLAGS for share in shares]
    assert check(FULL, cases) == wanted


def test_a_chained_layer_takes_what_the_layer_before_leaves() -> None:
    bad = [Case(CHAINED | change, BEFORE) for change in ({"stored": 11}, {"stored": 13})]
    bad += [Case(CHAINED | {"tokens": n, "k0": 8, "k1": 0}, BEFORE) for n in (8, 10, 12)]
    bad.append(Case(CHAINED, BEFORE | {"valid": 0}))
    # Its classes are those of the ids.
    bad += [Case(CHAINED | {"four_bit": n}, BEFORE) for n in (1, 9, 0xFFFF)]
    assert set(check(FULL, bad)) == {ErrorCode.TOKENS}
    bad = [Case(CHAINED | {"queries": n}, BEFORE) for n in (8, 10, 12)]
    bad += [Case(CHAINED | {"query_four_bit": n}, BEFORE) for n in (1, 9, 0xFFFF)]
    assert set(check(FULL, bad)) == {ErrorCode.QUERIES}
    bad = [Case(CHAINED | {"query_start": n}, BEFORE) for n in (1, 1 << 31)]
    assert set(check(FULL, bad)) == {ErrorCode.POSITIONS}


def test_a_list_names_some_of_what_is_stored() -> None:
    bad = [Case(LISTED | {"stored": 91}), Case(LISTED | {"tokens": 100, "stored": 99})]
    bad += [Case(LISTED | {"four_bit": n}) for n in (93, 0xFFFF)]
    assert set(check(FULL, bad)) == {ErrorCode.TOKENS}
    assert check(FULL, [Case(LISTED | {"query_start": 1})]) == [ErrorCode.POSITIONS]
    assert check(FULL, [Case(LISTED | {"stored": 105})]) == [ErrorCode.CAPACITY]


def test_segments_follow_each_other() -> None:
    """Of the same heads and queries, as many as are held; the last one writes, none is ranked."""
    flags = int(SEGMENT["flags"])
    last = flags & ~Flag.HOLDS
    good = [
        Case(SEGMENT, FIRST),
        Case(SEGMENT | {"flags": last, "next": 0}, FIRST),
        Case(SEGMENT | {"flags": flags & ~Flag.CONTINUES}),
        Case(SEGMENT | {"flags": flags & ~Flag.CONTINUES}, FIRST | {"holds": 0, "heads": 9}),
        Case(SEGMENT | {"flags": flags | Flag.KEY_LIST, "key_start": 0}, FIRST),
        # Its output may be anywhere, since it writes none.
        Case(SEGMENT | {"output": 1}, FIRST),
        # Keys of one segment are a run of places, too, and are ranked.
        Case(GOOD | {"tokens": 91, "key_start": 9, "k0": 91}),
    ]
    assert set(check(MERGED, good)) == {ErrorCode.NONE}
    bad = [
        (ErrorCode.SEGMENT, Case(SEGMENT)),
        (ErrorCode.SEGMENT, Case(SEGMENT, FIRST | {"holds": 0})),
        (ErrorCode.SEGMENT, Case(GOOD, FIRST)),
        (ErrorCode.SEGMENT, Case(SEGMENT | {"next": 0}, FIRST)),
        *(
            (ErrorCode.SEGMENT, Case(SEGMENT, FIRST | {name: 1}))
            for name in ("heads", "kv_heads", "queries")
        ),
        (ErrorCode.SEGMENT_IMPORTANCE, Case(SEGMENT | {"k0": 1}, FIRST)),
        *(
            (ErrorCode.SEGMENT_IMPORTANCE, Case(SEGMENT | {"flags": flags | more}, FIRST))
            for more in (Flag.IDS, Flag.REPORT, Flag.FRESH, Flag.COUNT)
        ),
        (ErrorCode.K1, Case(SEGMENT | {"k1": 1}, FIRST)),
        (ErrorCode.MERGE_ROWS, Case(SEGMENT | {"queries": 3}, FIRST | {"queries": 3})),
        (ErrorCode.TOKENS, Case(SEGMENT | {"key_start": 61}, FIRST)),
        (ErrorCode.TOKENS, Case(SEGMENT | {"key_start": 0xFFFF}, FIRST)),
        (ErrorCode.FLAGS, Case(SEGMENT | {"flags": flags | Flag.KEY_LIST}, FIRST)),
        (ErrorCode.WRITE_WINDOW, Case(SEGMENT | {"flags": last, "output": 0}, FIRST)),
    ]
    assert check(MERGED, [case for _, case in bad]) == [code for code, _ in bad]
    # Without the option nothing of it is known.
    none = [Case(GOOD | {"key_start": 1}), Case(GOOD | {"flags": Flag.HOLDS})]
    assert set(check(FULL, none)) == {ErrorCode.FLAGS}


def test_tokens_come_from_one_source() -> None:
    for flags, code in (
        (Flag.CHAINED | Flag.KEY_LIST, ErrorCode.FLAGS),
        (Flag.CHAINED | Flag.QUERY_CHAINED | Flag.QUERY_LIST, ErrorCode.FLAGS),
        (Flag.QUERY_CHAINED, ErrorCode.FLAGS),
        (Flag.QUERY_CHAINED | Flag.KEY_LIST, ErrorCode.FLAGS),
        (Flag.CHAINED | Flag.QUERY_CHAINED, ErrorCode.NONE),
        (Flag.CHAINED | Flag.QUERY_LIST, ErrorCode.NONE),
        (Flag.CHAINED, ErrorCode.NONE),
    ):
        assert check(FULL, [Case(CHAINED | {"flags": flags}, BEFORE)]) == [code], flags


@pytest.mark.parametrize("config", [PLAIN, FULL, GAINED, UNSIGNED, BIASED])
def test_flags_that_a_build_serves(config: Config) -> None:
    known, needed = served(config)
    cases = []
    for bit in range(32):
        flags = 1 << bit | needed | (Flag.FRESH if 1 << bit == Flag.CUMULATIVE else 0)
        fields = CHAINED if 1 << bit & (Flag.CHAINED | Flag.QUERY_CHAINED) else GOOD
        if 1 << bit == Flag.QUERY_CHAINED:
            flags |= Flag.CHAINED
        if 1 << bit == Flag.QUERY_LIST:
            fields = fields | {"query_start": 0}
        if 1 << bit == Flag.WINDOW:
            fields = fields | {"window": 5}
        if 1 << bit == Flag.LOCAL_VALUES:
            fields = fields | {"value_share": 255}
        if 1 << bit == Flag.KEY_BIAS:
            fields = fields | {"key_bias": 0x2000}
        cases.append(Case(fields | {"flags": flags}, BEFORE))
    codes = check(config, cases)
    possible = known & ~Flag(0)
    assert [code == ErrorCode.NONE for code in codes] == [
        bool(1 << bit & int(possible)) for bit in range(32)
    ]
    assert set(codes) <= {ErrorCode.NONE, ErrorCode.FLAGS}
    (code,) = check(config, [Case(GOOD | {"flags": 0})])
    assert (code == ErrorCode.FLAGS) == bool(needed)


def test_importance_is_carried_on_from_a_layer_that_has_it() -> None:
    cumulative = Flag.CUMULATIVE | Flag.CHAINED
    carried = BEFORE | {"cumulative": 1}
    cases = [
        Case(CHAINED | {"flags": cumulative}, carried),
        Case(CHAINED | {"flags": cumulative | Flag.FRESH}, BEFORE),
        Case(GOOD | {"flags": Flag.CUMULATIVE | Flag.FRESH}),
        Case(CHAINED | {"flags": cumulative}, BEFORE),
        Case(CHAINED | {"flags": cumulative}, carried | {"valid": 0}),
        Case(GOOD | {"flags": Flag.CUMULATIVE}, carried),
    ]
    assert check(FULL, cases) == [ErrorCode.NONE] * 3 + [ErrorCode.FLAGS] * 3


def test_bytes_between_the_fields_must_be_zero() -> None:
    covered = sum(((1 << f.bits) - 1) << 8 * f.offset for f in FIELDS)
    bits = [bit for bit in range(8 * SIZE) if not covered >> bit & 1]
    assert len(bits) == 8 * SIZE - sum(f.bits for f in FIELDS)
    assert set(check(PLAIN, [Case(GOOD, reserved=1 << bit) for bit in bits])) == {ErrorCode.FLAGS}


@pytest.mark.parametrize("codes", [0, Flag.CODES])
def test_every_region_lies_in_its_window(codes: int) -> None:
    every = LISTED | {"flags": codes | Flag.Q_GAINS | Flag.K_GAINS | Flag.V_GAINS | Flag.REPORT
                    | Flag.IDS | Flag.QUERY_LIST | Flag.KEY_LIST}  # fmt: skip
    expected, cases = [], []
    for name, size, write in regions(GAINED, every):
        first, end = WRITE if write else READ
        outside = ErrorCode.WRITE_WINDOW if write else ErrorCode.READ_WINDOW
        last = (end - size) // 64 * 64
        space = 1 << ADDRESS_BITS
        # A chain's addresses rise: that of its next descriptor is never below the window's start.
        low = [] if name == "next" else [(first, ErrorCode.NONE), (first - 64, outside)]
        for at, code in (
            *low,
            (last, ErrorCode.NONE),
            (last + 64, outside),
            (end, outside),
            (space - 64, outside),
            (space, outside),
            (space + last, outside),
            (1 << 63, outside),
            ((1 << 64) - 64, outside),
            (last + 1, ErrorCode.ALIGNMENT),
            (last + 32, ErrorCode.ALIGNMENT),
            ((1 << 64) - 1, ErrorCode.ALIGNMENT),
        ):
            cases.append(Case(every | {name: at}))
            expected.append(code)
    assert check(GAINED, cases) == expected


@pytest.mark.parametrize("config", [PLAIN, GAINED, MERGED, PRUNED, BIASED])
def test_random_descriptors(config: Config) -> None:
    rng = np.random.default_rng(3)
    choices = {
        "heads": (0, 18, 24, 36, 37),
        "kv_heads": (0, 6, 9, 18, 36), "stored": (0, 1, 12, 100, 101, 110),
        "queries": (0, 1, 9, 100, 101), "query_four_bit": (0, 1, 9, 10, 101),
        "query_start": (0, 1, 10, 11, 100), "capacity": (12, 100, 104, 110, 111),
        "tokens": (0, 1, 9, 12, 100, 101), "four_bit": (0, 9, 100, 101), "k0": (0, 1, 9, 100),
        "k1": (0, 1, 9, 10), "output_shift": (0, 7, 8),
        "next": (0, ADDRESS, 0x4000, 0x13F80, 0x13FC0, 0x4020),
    }  # fmt: skip
    descriptors = [GOOD, CHAINED, LISTED]
    if config.merge_rows:
        choices |= {"key_start": (0, 1, 60, 61, 65535)}
        descriptors += [SEGMENT, SEGMENT]
    if config.head_pruning:
        choices |= {"stored_heads": (0, 12, 36), "keep_heads": (0, 7, 12, 13)}
        descriptors = [{"head_report": 0x2F800, **each} for each in (*descriptors, CHOSEN, CHOSEN)]
    if config.bias_heads:
        descriptors = [{"key_bias": 0x2000, **each} for each in descriptors]
    known, needed = served(config)
    cases = []
    for _ in range(4000 if config.merge_rows else 1000):
        fields = dict(descriptors[rng.integers(len(descriptors))])
        flags = fields["flags"] | needed
        for name in rng.permutation(list(choices))[: rng.integers(0, 3)].tolist():
            fields[name] = int(rng.choice(choices[name]))
        for bit in Flag:
            sources = Flag.CHAINED | Flag.QUERY_CHAINED | Flag.QUERY_LIST | Flag.KEY_LIST
            if bit & known and rng.random() < (0.05 if bit & sources else 0.3):
                flags ^= bit
        fields["flags"] = int(flags)
        share = 256 if rng.random() < 0.05 else 90
        fields["value_share"] = share if flags & Flag.LOCAL_VALUES else 0
        for name in ("q", "v", "k_gains", "key_list", "output", "ids", "importance"):
            if rng.random() < 0.1:
                first, end = WRITE if name in ("output", "ids", "importance") else READ
                fields[name] = int(rng.choice([first - 64, end - 64, end - 8192, end + 32]))
        segment = fields["flags"] & Flag.CONTINUES and rng.random() < 0.9
        before = BEFORE | (FIRST if segment else {})
        before |= CHOOSING if fields.get("stored_heads") else {}
        before |= {"cumulative": int(rng.integers(2)), "valid": int(rng.random() < 0.9)}
        cases.append(Case(fields, before))
    # All but those of the head, of responses, and of what is found in what is read.
    others = {ErrorCode.VERSION, ErrorCode.READ_RESPONSE, ErrorCode.WRITE_RESPONSE,
              ErrorCode.WINDOW, ErrorCode.HEAD_TABLE, ErrorCode.GAIN, ErrorCode.LIST,
              ErrorCode.PROTECTED, ErrorCode.PROGRESSIVE, ErrorCode.BIAS_HEADS,
              ErrorCode.CHOSEN_VALUES}  # fmt: skip
    if not config.merge_rows:
        others |= {ErrorCode.SEGMENT, ErrorCode.SEGMENT_IMPORTANCE, ErrorCode.MERGE_ROWS}
    if not config.head_pruning:
        others |= {ErrorCode.HEADS, ErrorCode.KEEP_HEADS}
    assert set(check(config, cases)) == set(ErrorCode) - others
