"""The boards that tests run on."""

from collections.abc import Iterator

import pytest

from board_line import SMALL
from dtqatten.boards.simulated import SimulatedBoard, served


@pytest.fixture(scope="session")
def small_board() -> Iterator[SimulatedBoard]:
    """The smallest board, served; what one test leaves on it the next one has to bear."""
    with served(SMALL) as simulated:
        yield simulated
