"""A simulated board behind a pseudo-terminal: what a host opens in place of ``/dev/ttyUSB0``."""

import ctypes
import os
import pty
import select
import tty
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib import resources
from threading import Event, Thread

from dtqatten.boards.catalog import SIMULATED_SILENCE, Board, Memory
from dtqatten.boards.gateware.machine import BoardConfig, BoardMachine
from dtqatten.boards.gateware.sdram_memory import START_SECONDS
from dtqatten.hw.base.export import PREFIX
from dtqatten.interface.host_link import SILENCE
from dtqatten.sim.engines.compiler import compiled
from dtqatten.sim.engines.exported import exported

__all__ = ["SimulatedBoard", "design", "served"]

#: Cycles that run at a time.
SLICE = 1024
#: Cycles that run after the last byte before time stands still until the next one: too few to end
#: half a packet, whose other half the host may be about to write.
BESIDE = 4 * SLICE
#: Bytes that pass at a time.
PIECE = 4096
#: Seconds between two looks at whether to end.
LOOK = 0.2


def design(config: BoardConfig) -> str:
    """Return the Verilog of a board, with that of its SDRAM's controller.

    Raises
    ------
    RuntimeError
        If Yosys fails, with its message.
    """
    text = exported("board", BoardMachine, config)
    if config.sdram is None:
        return text
    from dtqatten.boards.sdram import controller

    return f"{text}\n{controller(config)}"


def load(config: BoardConfig) -> ctypes.CDLL:
    """Return the library of a board, compiled if that has not been done before.

    Raises
    ------
    RuntimeError
        If Verilator or the C++ compiler fails, with their messages.
    """
    source = resources.files("dtqatten.boards").joinpath("serial_line.cpp").read_text()
    shim = (
        f'#include "V{PREFIX}board.h"\n#define MODEL V{PREFIX}board\n'
        f"#define DIVISOR {config.divisor}u\n{source}"
    )
    text = design(config)
    library = ctypes.CDLL(str(compiled(text, "board", shim, 1, least=1)))
    handle, count, content = ctypes.c_void_p, ctypes.c_uint32, ctypes.c_char_p
    for name, result, arguments in (
        ("create", handle, ()),
        ("destroy", None, (handle,)),
        ("put", None, (handle, content, count)),
        ("run", count, (handle, count)),
        ("get", count, (handle, content, count)),
    ):
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library


class SimulatedBoard:
    """All that is on a board behind its oscillator, on Verilator, pins driven bit by bit.

    Time passes while bytes do, some thousand cycles longer, and, when none has come for as long as
    a board remembers half a packet, once as many cycles as that takes on it. Then it stands still.

    Parameters
    ----------
    board : Board

    Attributes
    ----------
    port : str
        The terminal that the host opens.

    Raises
    ------
    RuntimeError
        If Verilator or the C++ compiler fails, with their messages.
    """

    def __init__(self, board: Board) -> None:
        self._library = load(board.simulated())
        self._handle = self._library.create()
        # No time passes while a host waits for its first answer: the SDRAM has started by then.
        if board.memory is Memory.SDRAM:
            self._library.run(self._handle, int(2 * START_SECONDS * board.clock_hz))
        self._master, self._slave = pty.openpty()
        # The end that stays open here keeps the terminal alive between two hosts.
        tty.setraw(self._slave)
        os.set_blocking(self._master, False)
        self.port = os.ttyname(self._slave)

    def close(self) -> None:
        """Unplug the board: its memory is gone."""
        if getattr(self, "_handle", None):
            self._library.destroy(self._handle)
            self._handle = None
            os.close(self._master)
            os.close(self._slave)

    def __enter__(self) -> "SimulatedBoard":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def serve(self, ended: Callable[[], bool] = lambda: False) -> None:
        """Serve hosts, one after the other, until ``ended``."""
        left, silent = 0, True
        while not ended():
            if left > 0:
                came = self._pass(0.0)
                if not came:
                    waiting = self._library.run(self._handle, SLICE)
                    left = BESIDE if waiting or self._answer() else left - SLICE
            elif silent:
                came = self._pass(LOOK)
            else:
                came = self._pass(SILENCE)
                if not came:
                    self._library.run(self._handle, SIMULATED_SILENCE + SLICE)
                    self._answer()
                    silent = True
            if came:
                left, silent = BESIDE, False

    def _pass(self, seconds: float) -> bool:
        """Wait for bytes from the host and give them to the board; return whether there are any."""
        if not select.select([self._master], [], [], seconds)[0]:
            return False
        try:
            content = os.read(self._master, PIECE)
        except BlockingIOError:
            return False
        self._library.put(self._handle, content, len(content))
        self._library.run(self._handle, SLICE)
        self._answer()
        return bool(content)

    def _answer(self) -> bool:
        """Give the host what has come from the board; return whether there is anything.

        What a host does not read finds no room in the end, and is lost, as on a real line.
        """
        buffer = ctypes.create_string_buffer(PIECE)
        if not (count := self._library.get(self._handle, buffer, PIECE)):
            return False
        with suppress(BlockingIOError):
            os.write(self._master, buffer.raw[:count])
        return True


@contextmanager
def served(board: Board) -> Iterator[SimulatedBoard]:
    """Simulate a board and serve it on a thread."""
    ended = Event()
    with SimulatedBoard(board) as simulated:
        thread = Thread(target=simulated.serve, args=(ended.is_set,))
        thread.start()
        try:
            yield simulated
        finally:
            ended.set()
            thread.join()
