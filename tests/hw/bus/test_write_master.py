"""The write master: whole bursts in turn, every answer counted, nothing outside the window."""

from collections import deque

import numpy as np
import pytest

from dtqatten import Config
from dtqatten.configuration.system import SystemConfig
from dtqatten.hw.bus.axi import Response
from dtqatten.hw.bus.write_master import WriteMaster
from dtqatten.sim.engines.native import collect, offer, run, watch

CORE = Config(rows=1, cols=1, depth=1, d_head=8, n_max=4)
SYSTEM = SystemConfig(core=CORE, bus_bits=64, address_bits=20, burst_beats=4, buffer_bursts=2)
WIDTH, PAGE_WORDS = SYSTEM.bus_bytes, 4096 // SYSTEM.bus_bytes
WINDOW = {"base": 2, "limit": 5}
FIRST, END = 2 * PAGE_WORDS, 6 * PAGE_WORDS  # words of the window


def source(port, bursts: list[tuple[int, list[dict]]], rng, stall: float):
    """Return testbenches that request bursts whose words are there, as a write channel does."""

    async def testbench(ctx) -> None:
        for word, words in bursts:
            while rng.random() < stall:
                await ctx.tick()
            await offer(port.request, [{"word": word, "beats": len(words)}], rng)(ctx)
            await offer(port.words, words, rng)(ctx)

    return testbench


def words_of(count: int, rng) -> list[dict]:
    """Return words with strobes of every kind."""
    values = rng.integers(0, 1 << 62, count).tolist()
    return [{"data": v, "strb": int(rng.integers(0, 256))} for v in values]


@pytest.mark.parametrize("stall", [0.0, 0.5])
@pytest.mark.parametrize("streams", [1, 3])
def test_bursts_in_turn_with_their_words(streams: int, stall: float) -> None:
    rng = np.random.default_rng(streams)
    dut = WriteMaster(SYSTEM, streams)
    wanted = [
        [(at, words_of(n, rng)) for at, n in ((FIRST, 4), (END - 4, 4), (FIRST, 1), (END - 1, 1))]
        for _ in range(streams)
    ]
    for bursts in wanted:
        for _ in range(20):
            beats = int(rng.integers(1, 5))
            bursts.append((int(rng.integers(FIRST, END - beats)), words_of(beats, rng)))
    count = sum(map(len, wanted))
    total = sum(len(words) for bursts in wanted for _, words in bursts)
    taken, aw = collect(dut.aw, count, rng, stall, lambda p: (p.id, p.addr, p.len))
    sent, w = collect(dut.w, total, rng, stall, lambda p: (p.data, p.strb, p.last))
    addressed, monitor = watch(dut.aw)
    written, word_monitor = watch(dut.w, lambda p: (p.strb, p.last))
    unanswered = [0]

    async def answers(ctx) -> None:
        """Answer a burst once its address and its words are out."""
        given = 0
        while True:
            done = min(len(addressed), sum(last for _, (_, last) in written))
            ctx.set(dut.b.valid, 0)
            if given < done and rng.random() >= stall:
                ctx.set(dut.b.valid, 1)
                ctx.set(dut.b.p, {"id": 0, "resp": int(rng.integers(2))})
                assert ctx.get(dut.b.ready)
                given += 1
            await ctx.tick()
            unanswered[0] = count - given

    counts = dict.fromkeys(("issued", "sent", "stalled", "sent_bytes"), 0)

    async def counters(ctx) -> None:
        while True:
            _, _, *values, left, moved = await ctx.tick().sample(
                *(getattr(dut, name) for name in counts), dut.w.valid, dut.w.ready
            )
            assert values[1] == (left and moved)
            for name, value in zip(counts, values, strict=True):
                counts[name] += value

    async def last(ctx) -> None:
        ctx.set(dut.window, WINDOW)
        while len(taken) < count or len(sent) < total or unanswered[0]:
            await ctx.tick()
            assert not ctx.get(dut.outside)
            assert not ctx.get(dut.failed)
        assert ctx.get(dut.idle)

    sources = [
        source(port, bursts, rng, stall) for port, bursts in zip(dut.ports, wanted, strict=True)
    ]
    run(dut, last, *sources, aw, w, background=[answers, monitor, word_monitor, counters])
    queues = [deque(bursts) for bursts in wanted]
    words = iter(sent)
    passed = [0] * streams
    for id_, address, length in taken:
        assert id_ == 0
        # Whose burst it is shows in its words.
        got = [next(words) for _ in range(length + 1)]
        owner = next(
            i
            for i, queue in enumerate(queues)
            if queue
            and queue[0][0] * WIDTH == address
            and [(w["data"], w["strb"]) for w in queue[0][1]] == [(d, s) for d, s, _ in got]
        )
        queues[owner].popleft()
        assert [last for *_, last in got] == [0] * length + [1]
        passed = [0 if i == owner else n + 1 for i, n in enumerate(passed)]
        if not stall:
            assert all(n < streams for i, n in enumerate(passed) if queues[i])
    assert not any(queues)
    assert counts["issued"] == count
    assert counts["sent"] == total
    assert counts["sent_bytes"] == sum(strb.bit_count() for _, strb, _ in sent)
    assert (counts["stalled"] > 0) == (stall > 0)


def test_latency_and_throughput() -> None:
    rng = np.random.default_rng(0)
    dut = WriteMaster(SYSTEM, 1)
    sizes = [1, 4, 2, 3, 1, 4]
    bursts = [(FIRST + 4 * i, words_of(n, rng)) for i, n in enumerate(sizes)]
    logs, monitors = zip(*map(watch, (dut.ports[0].request, dut.aw, dut.w)), strict=True)

    async def ready(ctx) -> None:
        ctx.set(dut.window, WINDOW)
        ctx.set(dut.aw.ready, 1)
        ctx.set(dut.w.ready, 1)

    # Requests and words from two testbenches, so that neither waits for the other.
    requests = [{"word": at, "beats": len(words)} for at, words in bursts]
    words = [word for _, burst in bursts for word in burst]
    port = dut.ports[0]
    run(
        dut, ready, offer(port.request, requests, rng), offer(port.words, words, rng),
        background=monitors,
    )  # fmt: skip
    requested, addressed, sent = ([cycle for cycle, _ in log] for log in logs)
    starts = np.cumsum([0] + [n + 1 for n in sizes]).tolist()[:-1]
    # A burst is chosen while the one before is sent.
    assert requested[0] == 1
    assert all(taken <= out - 2 for taken, out in zip(requested, addressed, strict=True))
    assert addressed == [cycle + 3 for cycle in starts]
    assert sent == [at + 3 + i for at, n in zip(starts, sizes, strict=True) for i in range(n)]


@pytest.mark.parametrize("slow", ["aw", "w"])
def test_the_next_burst_waits_for_the_slower_of_address_and_words(slow: str) -> None:
    dut = WriteMaster(SYSTEM, 1)

    async def testbench(ctx) -> None:
        ctx.set(dut.window, WINDOW)
        request, words = dut.ports[0].request, dut.ports[0].words
        ctx.set(request.valid, 1)
        ctx.set(request.p, {"word": FIRST, "beats": 2})
        ctx.set(words.valid, 1)
        ctx.set(dut.aw.ready, int(slow != "aw"))
        ctx.set(dut.w.ready, int(slow != "w"))
        await ctx.tick().repeat(4)  # the next one is chosen
        for _ in range(8):
            assert not ctx.get(request.ready)
            assert ctx.get(getattr(dut, slow).valid)
            await ctx.tick()
        assert not ctx.get(dut.aw.valid if slow == "w" else dut.w.valid)
        ctx.set(getattr(dut, slow).ready, 1)
        await ctx.tick().repeat(1 if slow == "aw" else 2)
        assert ctx.get(request.ready)

    run(dut, testbench)


@pytest.mark.parametrize("outside", [FIRST - 1, FIRST - 4, 0, END, END + 3, 16 * PAGE_WORDS - 1])
def test_nothing_outside_the_window_is_issued(outside: int) -> None:
    dut = WriteMaster(SYSTEM, 2)

    async def testbench(ctx) -> None:
        ctx.set(dut.window, WINDOW)
        ctx.set(dut.aw.ready, 1)
        ctx.set(dut.w.ready, 1)
        for port in dut.ports:
            ctx.set(port.words.valid, 1)
        request = dut.ports[1].request
        ctx.set(request.p, {"word": outside, "beats": 1})
        ctx.set(request.valid, 1)
        for stopped in (False, True):
            ctx.set(dut.stop, int(stopped))
            await ctx.tick()
            for _ in range(10):
                await ctx.tick()
                assert ctx.get(dut.outside) == (not stopped)
                assert stopped or ctx.get(dut.address) == outside * WIDTH
                assert ctx.get(dut.idle) == stopped
                assert not ctx.get(request.ready)
                for port in dut.ports:
                    assert not ctx.get(port.words.ready)
                assert not ctx.get(dut.aw.valid)
                assert not ctx.get(dut.w.valid)

    run(dut, testbench)


def test_so_many_bursts_may_be_unanswered_and_an_error_names_its_own() -> None:
    dut = WriteMaster(SYSTEM, 1)
    count = WriteMaster.OUTSTANDING

    async def testbench(ctx) -> None:
        ctx.set(dut.window, WINDOW)
        ctx.set(dut.aw.ready, 1)
        ctx.set(dut.w.ready, 1)
        request, words = dut.ports[0].request, dut.ports[0].words
        ctx.set(words.valid, 1)
        ctx.set(request.valid, 1)
        for i in range(count):
            ctx.set(request.p, {"word": FIRST + 7 * i, "beats": 1})
            while not (await ctx.tick().sample(request.ready))[-1]:
                pass
        # One more is chosen, and not issued.
        await ctx.tick().repeat(6)
        for _ in range(6):
            assert not ctx.get(request.ready)
            assert not ctx.get(dut.aw.valid)
            await ctx.tick()
        assert not ctx.get(dut.idle)
        ctx.set(dut.stop, 1)
        await ctx.tick()
        ctx.set(dut.stop, 0)
        # Now one outside the window.
        ctx.set(request.p, {"word": END, "beats": 1})
        await ctx.tick().repeat(2)
        ctx.set(request.valid, 0)
        # First, middle and last of them fail; EXOKAY is no error.
        bad = {0: Response.SLVERR, 7: Response.DECERR, count - 1: Response.SLVERR}
        for i in range(count):
            await ctx.tick()
            assert not ctx.get(dut.failed)
            ctx.set(dut.b.p, {"id": 0, "resp": bad.get(i, Response.EXOKAY)})
            ctx.set(dut.b.valid, 1)
            assert ctx.get(dut.b.ready)
            assert ctx.get(dut.failed) == (i in bad)
            assert ctx.get(dut.outside)
            assert ctx.get(dut.address) == ((FIRST + 7 * i) if i in bad else END) * WIDTH
            assert not ctx.get(dut.idle)
            await ctx.tick()
            ctx.set(dut.b.valid, 0)
        ctx.set(dut.stop, 1)
        await ctx.tick()
        assert ctx.get(dut.idle)
        # An answer that nobody waits for is not taken.
        ctx.set(dut.b.valid, 1)
        await ctx.tick()
        assert not ctx.get(dut.b.ready)
        assert not ctx.get(dut.failed)
        assert ctx.get(dut.idle)

    run(dut, testbench)


@pytest.mark.parametrize("sent", [0, 1, 3])
def test_stop_completes_the_burst_that_has_begun_and_begins_no_other(sent: int) -> None:
    dut = WriteMaster(SYSTEM, 1)

    async def testbench(ctx) -> None:
        ctx.set(dut.window, WINDOW)
        request, words = dut.ports[0].request, dut.ports[0].words
        ctx.set(request.p, {"word": FIRST, "beats": 4})
        ctx.set(request.valid, 1)
        ctx.set(words.valid, 1)
        await ctx.tick().repeat(3)
        ctx.set(dut.w.ready, 1)
        for _ in range(sent):
            await ctx.tick()
        ctx.set(dut.stop, 1)
        for i in range(sent, 4):
            assert ctx.get(dut.aw.valid)
            assert ctx.get(dut.w.valid)
            assert ctx.get(dut.w.p.last) == (i == 3)
            await ctx.tick()
        assert ctx.get(dut.aw.valid)  # the bus was not ready so far
        ctx.set(dut.aw.ready, 1)
        for _ in range(5):
            await ctx.tick()
            assert not ctx.get(dut.aw.valid)
            assert not ctx.get(dut.w.valid)
            assert not ctx.get(request.ready)
            assert not ctx.get(dut.idle)
        ctx.set(dut.b.valid, 1)
        await ctx.tick()
        ctx.set(dut.b.valid, 0)
        assert ctx.get(dut.idle)
        ctx.set(dut.stop, 0)
        await ctx.tick()
        assert ctx.get(request.ready)

    run(dut, testbench)
