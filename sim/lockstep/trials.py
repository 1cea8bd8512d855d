"""Cycles of the blocks of trials: verdicts on rows, and keys that come again."""

from collections.abc import Iterator

import numpy as np

from dtqatten.configuration.core import Config
from dtqatten.hw.memory.joiner import joined_layout
from dtqatten.hw.payloads.softmax import reduced_layout, verdict_layout
from dtqatten.hw.payloads.sums import EXPONENTIAL_BITS, sum_bits
from dtqatten.sim.engines.bench import noise
from dtqatten.sim.engines.ports import pack_payload
from dtqatten.sim.lockstep.script import Cycle

__all__ = ["flat_row_cycles", "widener_cycles"]


def flat_row_cycles(
    config: Config, rng: np.random.Generator, blocks: int, stall: float
) -> Iterator[Cycle]:
    """Yield cycles of :class:`~dtqatten.hw.softmax.flat_rows.FlatRows`, row block by row block.

    Parameters
    ----------
    config : Config
    rng : Generator
    blocks : int
    stall : float
        Probability that no row comes, that a verdict is not taken.
    """
    most = config.n_max * 65535
    bits = sum_bits(config, EXPONENTIAL_BITS)
    pending: int | None = None

    def cycle(given: int = 0, **inputs: int) -> Cycle:
        """Return a cycle in which the verdict before may be taken."""
        nonlocal pending
        expected = {"given": given, "verdicts__valid": int(pending is not None)}
        if pending is not None:
            expected["verdicts__payload"] = pending
        ready = int(rng.random() >= stall)
        if ready:
            pending = None
        return {"verdicts__ready": ready, **inputs}, expected

    for _ in range(blocks):
        rows, tiles = (int(rng.integers(1, top + 1)) for top in (config.rows, 3))
        power = 1 << int(rng.integers(32))
        limit = int(rng.choice([0, 65535, int(rng.integers(most)), most, power, (1 << 32) - 1]))
        near = np.clip([limit - 1, limit, limit + 1, 0, most], 0, most)
        flat = 0
        for tile in range(tiles):
            for row in range(rows):
                last, ends = tile == tiles - 1, row == rows - 1
                total = int(rng.choice(near)) if last else noise(rng, bits)
                flat += last and total > limit
                given = int(last and ends)
                while (given and pending is not None) or rng.random() < stall:
                    idle = pack_payload(
                        reduced_layout(),
                        {"valid": 0, "last_row": ends, "last_tile": 1, "last_block": 1},
                    )
                    yield cycle(place=idle, total=noise(rng, bits), flat_sum=limit)
                place = {"valid": 1, "last_row": ends, "last_tile": last, "last_block": given}
                packed = pack_payload(reduced_layout(), place)
                yield cycle(given, place=packed, total=total, flat_sum=limit)
        fields = {"flat": flat > 0, "rows": flat}
        pending = pack_payload(verdict_layout(config), fields)
    while pending is not None:
        yield cycle()


def widener_cycles(
    config: Config, nibbles: int, rng: np.random.Generator, heads: int, stall: float
) -> Iterator[Cycle]:
    """Yield cycles of :class:`~dtqatten.hw.memory.widener.Widener`, head by head.

    Parameters
    ----------
    config : Config
    nibbles : int
        Of a beat.
    rng : Generator
    heads : int
    stall : float
        Probability that a beat or a verdict does not come, or is not taken.
    """
    layout = joined_layout(nibbles)
    words = config.d_head // nibbles

    def goes() -> bool:
        return bool(rng.random() >= stall)

    def beat(given: list[int], wide: bool, last: bool) -> int:
        return pack_payload(layout, {"nibbles": given, "precision": wide, "last": last})

    def pass_on(steps: list[tuple[bool, int, int]], trial: bool, verdict: int | None) -> Iterator:
        """Yield the cycles in which beats pass: whether of the low plane, what comes and leaves."""
        told = verdict is None
        for at, (low, comes, leaves) in enumerate(steps):
            offered = passed = False
            while not passed:
                offered, told = offered or goes(), told or goes()
                ready = goes()
                passed = offered and told and ready
                inputs = {"trial": int(trial), "o__ready": int(ready)}
                source, other = ("low", "i") if low else ("i", "low")
                # Of the other plane something may wait, which does not pass.
                inputs |= {f"{source}__valid": int(offered), f"{other}__valid": int(goes())}
                wide = 4 * nibbles + (2 if source == "i" else 0)
                inputs[f"{source}__payload"] = comes if offered else noise(rng, wide)
                if verdict is not None:
                    inputs |= {"verdicts__valid": int(told), "verdicts__payload": verdict}
                expected = {
                    "o__valid": int(offered and told),
                    f"{source}__ready": int(told and ready),
                    f"{other}__ready": 0,
                    "verdicts__ready": int(passed and verdict is not None and at == len(steps) - 1),
                    "idle": int(verdict is None),
                }
                if offered and told:
                    expected["o__payload"] = leaves
                yield inputs, expected

    for _ in range(heads):
        tokens, trial, flat = int(rng.integers(1, 5)), bool(rng.integers(3)), bool(rng.integers(2))
        high, low = rng.integers(0, 16, (2, tokens, words, nibbles)).tolist()
        wide = not trial and bool(rng.integers(2))
        places = [(token, word) for token in range(tokens) for word in range(words)]
        once = [beat(high[t][w], wide, (t, w) == places[-1]) for t, w in places]
        yield from pass_on([(False, one, one) for one in once], trial, None)
        if not trial:
            continue
        verdict = pack_payload(verdict_layout(config), {"flat": flat, "rows": int(flat)})
        steps = [(False, one, one) for one in once]
        if flat:
            steps = []
            for token in range(tokens):
                ends = token == tokens - 1
                for word in range(words):
                    comes = beat(high[token][word], False, ends and word == words - 1)
                    steps.append((False, comes, beat(high[token][word], True, False)))
                for word in range(words):
                    plane = beat(low[token][word], False, False) & ((1 << 4 * nibbles) - 1)
                    leaves = beat(low[token][word], True, ends and word == words - 1)
                    steps.append((True, plane, leaves))
        yield from pass_on(steps, trial, verdict)
