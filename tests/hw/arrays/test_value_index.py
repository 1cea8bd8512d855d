"""What is known of loaded heads: their wide groups, how they are described, what to keep."""

import numpy as np
import pytest

from dtqatten import Config, Schedule
from dtqatten.configuration.core import BANKS
from dtqatten.hw.arrays.value_index import GroupIndex, HeadDescriber, OperandReader
from dtqatten.sim.engines.native import run

CONFIG = Config(rows=2, cols=4, depth=2, d_head=8, n_max=12)
GROUPS = CONFIG.key_tiles * CONFIG.parts


def group(number: int) -> dict[str, int]:
    tile, part = divmod(number, CONFIG.parts)
    return {"tile": tile, "part": part}


async def load(ctx, ended, bank: int, wide: list[int], rng) -> None:
    """End the groups of a head, with pauses between."""
    for number, places in enumerate(wide):
        while rng.random() < 0.3:
            ctx.set(ended, {"valid": 0, "wide": 3})
            await ctx.tick()
        head = int(number == len(wide) - 1)
        now = {"valid": 1, "head": head, "bank": bank, "wide": places, "group": group(number)}
        ctx.set(ended, now)
        await ctx.tick()
    ctx.set(ended, {"valid": 0, "wide": 3})


def random_head(rng) -> list[int]:
    return [int(rng.choice([0, 0, 1, 2, 3])) for _ in range(int(rng.integers(1, GROUPS + 1)))]


@pytest.mark.parametrize("schedule", list(Schedule))
def test_wide_groups_are_found_by_bank(schedule: Schedule) -> None:
    dut = GroupIndex(CONFIG.replace(schedule=schedule))
    rng = np.random.default_rng(0)

    async def testbench(ctx) -> None:
        heads: dict[int, list[int]] = {}
        for number in range(20):
            bank = number % BANKS
            heads[bank] = random_head(rng)
            await load(ctx, dut.ended, bank, heads[bank], rng)
            assert ctx.get(dut.wide_groups) == 0  # the next head's
            for asked, head in heads.items():
                ctx.set(dut.bank, asked)
                listed = [g for g, places in enumerate(head) if places]
                if schedule is Schedule.PLANE_MAJOR:
                    for index, at in enumerate(listed):
                        ctx.set(dut.peek, index)
                        found = ctx.get(dut.wide_group)
                        assert (found.tile, found.part) == tuple(group(at).values())
                else:
                    for at in range(len(head)):
                        ctx.set(dut.peek, at)
                        assert ctx.get(dut.is_wide) == (at in listed)
            await ctx.tick()

    run(dut, testbench)


def test_heads_are_described_as_late_as_stated() -> None:
    dut = HeadDescriber(CONFIG)
    rng = np.random.default_rng(1)
    planes, interval = CONFIG.planes, CONFIG.drain_interval

    async def testbench(ctx) -> None:
        for _ in range(30):
            head = random_head(rng)
            follows = int(rng.integers(2))
            for number, places in enumerate(head):
                last = number == len(head) - 1
                # The flag belongs to the head's last beat, a cycle before its group has ended.
                ctx.set(dut.follows, follows if last else int(rng.integers(2)))
                ctx.set(dut.ended, {"valid": 0, "wide": 3})
                await ctx.tick()
                ctx.set(dut.follows, 1 - follows)
                now = {"valid": 1, "head": int(last), "wide": places, "group": group(number)}
                ctx.set(dut.ended, now)
                ctx.set(dut.wide_groups, sum(p > 0 for p in head[:number]))
                await ctx.tick()
                assert not ctx.get(dut.loaded)
            ctx.set(dut.ended, {"valid": 0, "wide": 0})
            await ctx.tick()
            assert ctx.get(dut.loaded)
            await ctx.tick().repeat(2)
            shown, wide = ctx.get(dut.head), sum(p > 0 for p in head)
            assert shown.single == (len(head) == 1)
            assert shown.single or shown.before_last == len(head) - 2
            assert (shown.some_wide, shown.single_wide) == (wide > 0, wide == 1)
            assert wide < 2 or shown.before_last_wide == wide - 2
            assert shown.follows == follows
            # Steps of a tile: see ``ValueSequencer``.
            whole = planes * (len(head) + wide)
            steps = len(head) + (2 * planes - 1) * wide if follows else whole
            assert shown.wait == max(0, interval - steps)
            assert shown.narrow_wait == max(0, interval - len(head) - wide)
            ctx.set(dut.used, 1)
            await ctx.tick()
            ctx.set(dut.used, 0)

    run(dut, testbench)


def test_low_planes_of_4_bit_tokens_are_not_kept() -> None:
    dut = OperandReader(CONFIG)
    rng = np.random.default_rng(2)

    async def testbench(ctx) -> None:
        heads = [random_head(rng) for _ in range(BANKS)]
        for bank, head in enumerate(heads):
            await load(ctx, dut.ended, bank, head, rng)
        for _ in range(300):
            bank = int(rng.integers(len(heads)))
            at = int(rng.integers(len(heads[bank])))
            valid, low, release = (int(x) for x in rng.integers(0, 2, 3))
            channel_pass = int(rng.integers(CONFIG.channel_passes))
            feed = {"valid": valid, "bank": bank, "plane": low, "release": release}
            ctx.set(dut.feed, {**feed, "channel_pass": channel_pass, **group(at)})
            await ctx.tick()
            read = ctx.get(dut.read)
            assert (read.valid, read.release) == (valid, valid & release)
            assert read.keep == (0 if not valid else heads[bank][at] if low else 3)
            if valid:
                assert read.bank == bank
                assert read.address == (channel_pass * 2 + low) * GROUPS + at

    run(dut, testbench)
