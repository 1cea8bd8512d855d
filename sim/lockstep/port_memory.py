"""Memory behind the ports of streams, in place of master and bus."""

from collections import deque
from typing import Any

import numpy as np

from dtqatten.configuration.system import SystemConfig
from dtqatten.golden.memory import Burst
from dtqatten.sim.engines.native import Testbench

__all__ = ["PortMemory"]


class PortMemory:
    """Serve read and write ports in Amaranth's simulator, as slowly as chance has it.

    Parameters
    ----------
    system : SystemConfig
    data : bytes
        What is there from address 0 on.
    rng : Generator
    stall : float
        Probability that a request, an answer or a word has to wait, in each cycle.
    ahead : float
        Probability that a word of a burst is read when the burst is requested, not when the word
        comes: where others write meanwhile, memory is seen in any order of a burst's words.

    Attributes
    ----------
    data : bytearray
        What is there now.
    unread, unwritten : int
        Words of the bursts requested that have still to be answered, or to come.
    """

    def __init__(
        self,
        system: SystemConfig,
        data: bytes,
        rng: np.random.Generator,
        stall: float = 0.0,
        ahead: float = 0.0,
    ) -> None:
        self.system, self.rng, self.stall, self.ahead = system, rng, stall, ahead
        self.data = bytearray(data)
        self.unread = self.unwritten = 0

    def _moves(self) -> bool:
        return bool(self.rng.random() >= self.stall)

    def _begin(self, payload: Any, bursts: list[Burst], due: deque[int]) -> int:
        """Note a burst and where its words begin, and return how many these are."""
        width = self.system.bus_bytes
        address = payload.word * width + payload.offset
        bursts.append(Burst(address, payload.beats, 1 << payload.width))
        due.extend(range(address, address + payload.beats * width, width))
        return int(payload.beats)

    def reads(self, port: Any, stop: Any = None) -> tuple[list[Burst], Testbench]:
        """Return a list of the bursts that come, and a background testbench that answers them.

        Words come in order, from the cycle after the request on. While the signal ``stop`` is set
        no request is taken.

        Raises
        ------
        AssertionError
            From the testbench, if the port expects another word than the one that comes.
        """
        bursts: list[Burst] = []
        width = self.system.bus_bytes

        async def testbench(context: Any) -> None:
            due: deque[int] = deque()
            early: dict[int, bytes] = {}

            def word_at(address: int) -> bytes:
                at = address // width * width
                return bytes(self.data[at : at + width])

            while True:
                stopped = stop is not None and context.get(stop)
                context.set(port.request.ready, int(self._moves() and not stopped))
                answer = bool(due) and self._moves()
                context.set(port.answer, int(answer))
                if answer:
                    address = due.popleft()
                    self.unread -= 1
                    word = early.pop(address, None) or word_at(address)
                    context.set(port.data, int.from_bytes(word, "little"))
                    if (expected := context.get(port.answered)) != address:
                        raise AssertionError(f"{address:#x} comes, {expected:#x} is expected")
                _, _, ready, valid, payload = await context.tick().sample(
                    port.request.ready, port.request.valid, port.request.p
                )
                if ready and valid:
                    beats = self._begin(payload, bursts, due)
                    self.unread += beats
                    if self.ahead:
                        for address in list(due)[-beats:]:
                            if self.rng.random() < self.ahead:
                                early[address] = word_at(address)

        return bursts, testbench

    def writes(self, port: Any) -> tuple[list[Burst], Testbench]:
        """Return a list of the bursts that come, and a background testbench that stores them.

        Raises
        ------
        AssertionError
            From the testbench, if a word is not there from the cycle after its request on.
        """
        bursts: list[Burst] = []
        width = self.system.bus_bytes

        async def testbench(context: Any) -> None:
            due: deque[int] = deque()
            while True:
                context.set(port.request.ready, int(self._moves()))
                context.set(port.words.ready, int(bool(due) and self._moves()))
                _, _, asked, valid, payload, taken, there, word = await context.tick().sample(
                    port.request.ready,
                    port.request.valid,
                    port.request.p,
                    port.words.ready,
                    port.words.valid,
                    port.words.p,
                )
                if due and not there:
                    raise AssertionError(f"{due[0]:#x} was requested and is not there")
                if taken and there:
                    at = due.popleft()
                    self.unwritten -= 1
                    values = word.data.to_bytes(width, "little")
                    for i, value in enumerate(values):
                        if word.strb >> i & 1:
                            self.data[at + i] = value
                if asked and valid:
                    self.unwritten += self._begin(payload, bursts, due)

        return bursts, testbench
