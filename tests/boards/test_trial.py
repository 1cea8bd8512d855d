"""The layer that a build begins with."""

from typing import Any

import pytest

from board_line import SMALL
from dtqatten.boards import trial
from dtqatten.boards.catalog import BOARDS, Board, Memory
from dtqatten.boards.trial import simulated_exact
from dtqatten.driver.chain import Chain
from dtqatten.driver.errors import LinkTimeoutError, error_of
from dtqatten.files.errors import ToolError
from dtqatten.interface.registers import ErrorCode


def test_a_small_board_is_exact_and_a_wrong_bit_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    assert simulated_exact(SMALL)
    original = Chain.run

    def wrong(self: Chain) -> Any:
        results = original(self)
        results[-1].output.flat[0] ^= 1
        return results

    monkeypatch.setattr(Chain, "run", wrong)
    assert not simulated_exact(SMALL)


@pytest.mark.parametrize(
    "error",
    [error_of(ErrorCode.K0, 0x40, 0), LinkTimeoutError("no answer"), TimeoutError("not in time")],
    ids=lambda error: type(error).__name__,
)
def test_a_board_that_fails_is_named(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(trial, "run_layers", failing)
    with pytest.raises(ToolError, match=f"{SMALL.name}, simulated, fails: .*{error}"):
        simulated_exact(SMALL)


def test_a_layer_has_no_more_tokens_than_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    tokens: list[int] = []

    def layer(board: Board, heads: int, count: int, seed: int) -> Any:
        tokens.append(count)
        raise AssertionError("not needed further")

    monkeypatch.setattr(trial, "random_recording", layer)
    for board in (SMALL, BOARDS["ulx3s-85f"]):
        with pytest.raises(AssertionError, match="not needed further"):
            simulated_exact(board)
    assert tokens == [8, 12]


ALL = [*BOARDS.values(), *(b.using(Memory.SDRAM) for b in BOARDS.values() if b.part)]


@pytest.mark.long
@pytest.mark.parametrize("board", ALL, ids=lambda board: board.name)
def test_every_board_is_exact(board: Board) -> None:
    """A model of each is compiled: minutes."""
    assert simulated_exact(board)
