"""A small board on a thread, and a line to it that loses and changes bytes."""

import os
import pty
import select
import threading
import tty
from collections.abc import Callable
from dataclasses import replace

import serial

from dtqatten import PRESETS
from dtqatten.boards.catalog import BOARDS
from dtqatten.configuration.system import SystemConfig

#: The smallest machine that computes a layer: its model compiles and runs quickly.
SMALL = replace(
    BOARDS["ulx3s-85f"],
    name="small",
    memory_bytes=1 << 14,
    system=SystemConfig(
        core=PRESETS["tiny"].replace(
            rows=2, cols=2, depth=2, d_head=8, n_max=8, heads=2, topk_lanes=2
        ),
        bus_bits=64,
        address_bits=32,
        burst_beats=4,
        buffer_bursts=2,
    ),
)

Disturb = Callable[[bytes], bytes]


class Line:
    """A line between a host and a board's terminal, in whose middle bytes can be changed.

    Attributes
    ----------
    port : str
        What the host opens.
    to_board, to_host : callable
        What becomes of the bytes that pass.
    passed : list of int
        Bytes that have passed, to the board and to the host.
    """

    def __init__(self, port: str) -> None:
        self._far = serial.Serial(port, timeout=0)
        self._master, self._slave = pty.openpty()
        tty.setraw(self._slave)
        self.port = os.ttyname(self._slave)
        self.to_board: Disturb = bytes
        self.to_host: Disturb = bytes
        self.passed = [0, 0]
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while not self._ended.is_set():
            ready, _, _ = select.select([self._master, self._far], [], [], 0.05)
            if self._master in ready:
                content = os.read(self._master, 4096)
                self._far.write(self.to_board(content))
                self.passed[0] += len(content)
            if self._far in ready:
                content = self._far.read(4096)
                os.write(self._master, self.to_host(content))
                self.passed[1] += len(content)

    def unplug(self) -> None:
        """Take the host's end away: its terminal hangs up."""
        if not self._ended.is_set():
            self._ended.set()
            self._thread.join()
            self._far.close()
            os.close(self._master)
            os.close(self._slave)

    def __enter__(self) -> "Line":
        return self

    def __exit__(self, *_: object) -> None:
        self.unplug()


class Once:
    """Change the byte that passes as number ``at`` by a function, and no other."""

    def __init__(self, at: int, change: Callable[[int], bytes]) -> None:
        self.at, self.change, self.passed, self.done = at, change, 0, False

    def __call__(self, content: bytes) -> bytes:
        place = self.at - self.passed
        self.passed += len(content)
        if 0 <= place < len(content):
            self.done = True
            return content[:place] + self.change(content[place]) + content[place + 1 :]
        return content
