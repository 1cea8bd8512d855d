"""The configuration: what it accepts, derives and refuses."""

import pytest

from dtqatten import PRESETS, Config, ConfigError, Schedule, TopKEngine
from dtqatten.configuration.changes import changed, configured


def test_presets_are_what_they_are_named_for() -> None:
    assert list(PRESETS) == ["tiny", "edge", "base", "paper"]
    paper = PRESETS["paper"]
    assert paper.schedule is Schedule.INTERLEAVED
    assert paper.depth == 1
    assert 2 * paper.rows * paper.cols == 3168
    base = PRESETS["base"]
    assert base.rows * base.cols * base.depth == 2048
    assert base.multipliers == 2048 + 2816
    # The drain keeps up with 4-bit tiles in every preset.
    assert all(c.rows <= c.steps for c in PRESETS.values())


@pytest.mark.parametrize(
    ("d_head", "depth", "load_bits", "load_nibbles"),
    [
        *[(64, 8, 64, 16), (64, 1, 64, 16), (80, 5, 64, 10), (72, 8, 64, 8), (88, 8, 64, 8)],
        *[(96, 32, 64, 32), (8, 1, 64, 8), (64, 8, 128, 32), (64, 8, 1024, 64), (80, 5, 16, 5)],
    ],
)
def test_load_beats_divide_a_plane(
    d_head: int, depth: int, load_bits: int, load_nibbles: int
) -> None:
    config = Config(rows=2, cols=2, depth=depth, d_head=d_head, load_bits=load_bits)
    assert config.load_nibbles == load_nibbles
    assert config.words * config.load_nibbles == d_head
    assert config.steps * depth == d_head


def test_streams_of_values_and_outputs_are_no_wider_than_a_tile() -> None:
    tiny, base = PRESETS["tiny"], PRESETS["base"]
    assert (tiny.value_nibbles, tiny.output_lanes) == (4, 1)
    assert (base.value_nibbles, base.output_lanes) == (32, 16)
    assert base.replace(load_bits=64).value_nibbles == 16
    assert base.replace(load_bits=1024).value_nibbles == 32
    assert (base.channels_a_beat, tiny.channels_a_beat) == (1, 1)
    # Where it is said so, a column takes 2, 4, ... of its channels at a time.
    for bits, d_head, nibbles in ((64, 64, 16), (256, 64, 64), (1024, 64, 64), (512, 96, 32)):
        wide = base.replace(value_load_bits=bits, d_head=d_head)
        assert (wide.value_nibbles, wide.channels_a_beat) == (nibbles, max(1, nibbles // 32))
        assert wide.d_head % wide.value_nibbles == 0
    assert base.replace(normalizer_lanes=None).output_lanes == 8
    assert base.replace(normalizer_lanes=32).output_lanes == 32


def test_score_width_holds_the_extremes_and_no_more() -> None:
    for d_head in range(8, 129, 8):
        config = Config(rows=1, cols=1, depth=1, d_head=d_head)
        extreme = d_head * 120 * 120
        assert extreme < 1 << (config.score_width - 1) <= 2 * extreme


def test_sum_width_holds_every_partial_sum() -> None:
    for planes, top in ((2, 119), (3, 1911)):
        config = PRESETS["base"].replace(planes=planes)
        assert config.n_max * top * 120 < 1 << config.sum_width - 1


@pytest.mark.parametrize("schedule", list(Schedule))
def test_schedule_by_name(schedule: Schedule) -> None:
    assert Config(rows=1, cols=1, depth=1, schedule=schedule.value).schedule is schedule  # type: ignore[arg-type]


@pytest.mark.parametrize("engine", list(TopKEngine))
def test_top_k_engine_by_name(engine: TopKEngine) -> None:
    config = Config(rows=1, cols=1, depth=1, topk_engine=engine.value)  # type: ignore[arg-type]
    assert config.topk_engine is engine
    assert PRESETS["base"].topk_engine is TopKEngine.COUNTING


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"rows": 0}, "rows is 0, outside 1..64"),
        ({"rows": 65}, "rows is 65, outside 1..64"),
        ({"cols": 129}, "cols is 129, outside 1..128"),
        ({"cols": True}, r"cols must be an integer, not True: choose one in 1\.\.128"),
        ({"product_stages": 0}, "product_stages is 0, outside 1..2"),
        ({"product_stages": 3}, "product_stages is 3, outside 1..2"),
        ({"depth": 2.0}, "depth must be an integer, not 2.0"),
        ({"depth": 7}, "depth is 7, which does not divide d_head = 32: use 4"),
        ({"pod_cols": 3}, "pod_cols is 3, which does not divide cols = 4: .* use one of 1, 2, 4"),
        ({"pod_cols": 0}, "pod_cols is 0, outside 1..128"),
        ({"d_head": 12}, "d_head is 12, not a multiple of 8: pad the heads .* to 16, or use 8"),
        ({"d_head": 264}, "d_head is 264, outside 8..256"),
        ({"n_max": 0}, "n_max is 0, outside 1..1024"),
        ({"n_max": 1025}, "n_max is 1025, outside 1..1024"),
        ({"rows": 32, "cols": 65}, r"rows \* cols \(PEs\) is 2080, above 2048: use several"),
        (
            {"rows": 32, "cols": 33, "depth": 32},
            r"rows \* cols \* depth \(multipliers\) is 33792, above 32768: use several",
        ),
        (
            {"rows": 32, "cols": 33, "value_depth": 32},
            r"rows \* cols \* value_depth \(multipliers\) is 33792, above 32768: use several",
        ),
        (
            {"rows": 1, "cols": 128, "value_depth": 100},
            r"cols \* value_depth \(operands of a step\) is 12800, above 8192",
        ),
        (
            {"cols": 128, "depth": 128, "d_head": 128, "rows": 1},
            r"cols \* depth \(operands of a step\) is 16384, above 8192",
        ),
        ({"planes": 4}, "planes is 4, outside 2..3"),
        ({"v_gains": 1}, "v_gains is 1: choose True or False"),
        ({"topk_lanes": 12}, "topk_lanes is 12, not a power of two: use 8 or 16"),
        ({"topk_lanes": 128}, "topk_lanes is 128, outside 1..64"),
        ({"load_bits": 96}, "load_bits is 96, not a power of two: use 64 or 128"),
        ({"load_bits": 8}, r"load_bits is 8, outside 16\.\.1024"),
        ({"value_load_bits": 96}, "value_load_bits is 96, not a power of two: use 64 or 128"),
        ({"normalizer_lanes": 0}, "normalizer_lanes is 0, outside 1..128"),
        (
            {"normalizer_lanes": 5},
            "normalizer_lanes is 5, above cols = 4: .* has that many channels; use at most 4",
        ),
        ({"heads": 0}, "heads is 0, outside 1..65537"),
        (
            {"heads": 1025},
            r"heads \* n_max is 65600, above 65537, the rows .*: use at most 1024 heads",
        ),
        ({"capacity": 65537}, "capacity is 65537, outside 1..65536"),
        ({"capacity": 63}, "capacity is 63, below n_max = 64: a cache holds at least the tokens"),
        ({"windows": 1}, "windows is 1: choose True or False"),
        ({"skip_tiles": None}, "skip_tiles is None: choose True or False"),
        ({"local_values": True}, "local_values is True without skip_tiles"),
        ({"chosen_values": True}, "chosen_values is True without local_values"),
        (
            {"skip_tiles": True, "local_values": True, "chosen_values": True, "merge_rows": 3},
            "chosen_values is True with merge_rows = 3",
        ),
        (
            {"held_importance": True, "merge_rows": 4},
            "held_importance is True with merge_rows = 4: .* leave one of the two out",
        ),
        (
            {"grouped": True, "count_normalize": True},
            "count_normalize is True with grouped: .* leave one of the two out",
        ),
        (
            {"progressive": True, "merge_rows": 4},
            "progressive is True with merge_rows = 4: .* leave one of the two out",
        ),
        (
            {"head_pruning": True, "grouped": True},
            "head_pruning is True with grouped: .* leave one of the two out",
        ),
        (
            {"head_pruning": True, "merge_rows": 4},
            "head_pruning is True with merge_rows = 4: .* leave one of the two out",
        ),
        (
            {"head_pruning": True, "heads": 65},
            "heads is 65 with head_pruning, above 64: use at most 64 heads",
        ),
        ({"schedule": "random"}, "schedule is 'random': choose one of interleaved, plane_major"),
    ],
)
def test_impossible_values_are_refused(changes: dict, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        PRESETS["tiny"].replace(**changes)


def test_the_value_array_may_have_a_depth_of_its_own() -> None:
    plain = Config(rows=4, cols=8, depth=4, d_head=32)
    assert plain.of_values == plain
    assert (plain.group, plain.parts, plain.multipliers) == (4, 2, 256)
    own = plain.replace(value_depth=3)
    assert (own.depth, own.of_values.depth, own.parts) == (4, 3, 3)
    assert own.multipliers == 4 * 8 * 7
    with pytest.raises(ConfigError, match=r"value_depth is 0, outside 1\.\.128"):
        plain.replace(value_depth=0)


def test_sizes_follow_what_they_were_chosen_for_where_that_is_changed_alone() -> None:
    """A preset's value_depth is chosen beside its depth, its normalizer beside its columns."""
    base = PRESETS["base"]
    assert base.value_depth not in (None, 16)
    assert configured("base") == base
    assert configured("base", rows=4).value_depth == base.value_depth
    assert configured("base", depth=16).group == 16
    assert configured("base", depth=16, value_depth=11).group == 11
    assert base.normalizer_lanes not in (None, 4)
    assert configured("base", rows=4).normalizer_lanes == base.normalizer_lanes
    assert configured("base", cols=16).output_lanes == 4
    assert configured("base", cols=16, normalizer_lanes=16).output_lanes == 16
    pods = base.replace(pod_cols=8)
    assert [changed(pods, cols=cols).pod_cols for cols in (16, 12, 9)] == [8, 4, 1]
    assert changed(pods, cols=16, pod_cols=2).pod_cols == 2
    assert changed(pods, rows=4).pod_cols == 8
    with pytest.raises(ConfigError, match="cols is 0, outside"):
        changed(pods, cols=0)


def test_hops_are_pods_of_a_row() -> None:
    """What waits for a row of PEs waits for its pods only."""
    base = PRESETS["base"].replace(pod_cols=1)
    pods = base.replace(pod_cols=8)
    assert (base.hops, pods.hops) == (32, 4)
    # Latencies of 48 and 20 cycles: 6 and 3 tiles of 8 rows in flight, one starting, one draining.
    assert (base.score_rows, pods.score_rows) == (64, 40)
    assert (base.flush_cycles, pods.flush_cycles) == (44, 16)
    with pytest.raises(ConfigError, match="no preset 'huge': choose one of tiny, edge"):
        configured("huge")


def test_positions_are_those_of_the_cache() -> None:
    tiny = PRESETS["tiny"]
    assert (tiny.positions, tiny.position_bits) == (64, 6)
    cache = tiny.replace(capacity=65536)
    assert (cache.positions, cache.position_bits) == (65536, 16)
    assert tiny.replace(n_max=1).position_bits == 1
