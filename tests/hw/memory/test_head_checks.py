"""Heads that a descriptor chooses, and those that it has from the layer before."""

from checker_model import CHOOSING, CHOSEN, FULL, GOOD, NO_LAYER, PRUNED, Case, check
from dtqatten.interface.descriptor import Flag
from dtqatten.interface.registers import ErrorCode


def test_heads_are_those_that_the_layer_before_keeps() -> None:
    flags = int(CHOSEN["flags"])
    first = CHOSEN | {"flags": flags & ~Flag.HEADS_CHAINED, "stored_heads": 0}
    good = [
        Case(CHOSEN, CHOOSING),
        Case(CHOSEN | {"keep_heads": 12}, CHOOSING),
        Case(CHOSEN | {"flags": flags & ~Flag.HEAD_REPORT, "keep_heads": 0}, CHOOSING),
        Case(first, CHOOSING),
        Case(first | {"heads": 36, "keep_heads": 36}, NO_LAYER),
        # Heads that share K and V can be ranked, but not chosen.
        Case(first | {"kv_heads": 6}),
    ]
    assert set(check(PRUNED, good)) == {ErrorCode.NONE}
    bad = [
        *(
            (ErrorCode.HEADS, Case(CHOSEN | change, before))
            for change, before in (
                ({}, CHOOSING | {"valid": 0}),
                ({}, CHOOSING | {"heads": 35}),
                ({}, CHOOSING | {"keep_heads": 11}),
                ({}, CHOOSING | {"keep_heads": 0}),
                ({"stored_heads": 37}, CHOOSING),
                ({"heads": 11, "kv_heads": 11}, CHOOSING),
                ({"kv_heads": 6}, CHOOSING),
            )
        ),
        (ErrorCode.HEADS, Case(first | {"stored_heads": 36}, CHOOSING)),
        (ErrorCode.KEEP_HEADS, Case(CHOSEN | {"keep_heads": 13}, CHOOSING)),
        (ErrorCode.KEEP_HEADS, Case(CHOSEN | {"keep_heads": 0xFFFF}, CHOOSING)),
        (ErrorCode.KEEP_HEADS, Case(CHOSEN | {"keep_heads": 0}, CHOOSING)),
        (ErrorCode.NO_HEADS, Case(CHOSEN | {"heads": 0}, CHOOSING)),
        # All that are in memory are read, or written, as far as the window goes.
        (ErrorCode.READ_WINDOW, Case(CHOSEN | {"q": 0x14000 - 12 * 40 * 8}, CHOOSING)),
        (ErrorCode.READ_WINDOW, Case(CHOSEN | {"k": 0x14000 - 12 * 45 * 8 - 32}, CHOOSING)),
        (ErrorCode.READ_WINDOW, Case(CHOSEN | {"head_table": 0x14000 - 64}, CHOOSING)),
        (ErrorCode.WRITE_WINDOW, Case(CHOSEN | {"head_report": 0x30000 - 256}, CHOOSING)),
        (ErrorCode.ALIGNMENT, Case(CHOSEN | {"head_report": 0x2F808}, CHOOSING)),
    ]
    assert check(PRUNED, [case for _, case in bad]) == [code for code, _ in bad]
    # Without the option nothing of it is known.
    none = [Case(GOOD | {name: 1}) for name in ("keep_heads", "stored_heads", "head_report")]
    none.append(Case(GOOD | {"flags": GOOD["flags"] | Flag.HEAD_REPORT}))
    assert set(check(FULL, none)) == {ErrorCode.FLAGS}
