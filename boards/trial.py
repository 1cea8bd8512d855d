"""A layer on a simulated board, compared with the golden model."""

from dtqatten.boards.catalog import Board
from dtqatten.boards.host import device_on, random_recording, run_layers
from dtqatten.boards.simulated import served
from dtqatten.driver.errors import (
    DeviceError,
    LinkError,
    NotIdleError,
    PortError,
    StaleChainError,
)
from dtqatten.driver.serial_bus import SerialBus
from dtqatten.files.errors import ToolError
from dtqatten.golden.numerics.select import PAPER_SHARES

__all__ = ["simulated_exact"]

#: How a run ends on a machine, or a line, that does not work.
FAILURES = (DeviceError, LinkError, NotIdleError, PortError, StaleChainError, TimeoutError)


def simulated_exact(board: Board, *, tokens: int = 12, seed: int = 0) -> bool:
    """Return whether a random layer on the simulated board gives what the golden model says.

    Parameters
    ----------
    board : Board
    tokens : int
        At most those of the machine.
    seed : int
        Of the layer.

    Raises
    ------
    ToolError
        If the machine ends with an error, or does not answer.
    RuntimeError
        If Verilator or the C++ compiler fails, with their messages.
    """
    layer = random_recording(board, 1, min(tokens, board.system.core.n_max), seed)
    with served(board) as simulated:
        bus = SerialBus(simulated.port, baud=board.baud)
        try:
            run_layers(device_on(bus, board), board, layer, shares=PAPER_SHARES)
        except AssertionError:
            return False
        except FAILURES as error:
            raise ToolError(f"{board.name}, simulated, fails: {error}") from error
        finally:
            bus.close()
    return True
