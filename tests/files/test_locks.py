"""One at a time."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from dtqatten.files.locks import alone
from dtqatten.files.notices import shown_by


def test_who_comes_second_waits_and_says_so(tmp_path: Path) -> None:
    lock, said = tmp_path / "new" / "x.lock", threading.Event()
    seen: list[str] = []

    @contextmanager
    def show(text: str) -> Iterator[None]:
        assert text == f"another run is at work in {lock.parent}: waiting for its end"
        said.set()
        yield

    def second() -> None:
        with alone(lock):
            seen.append("second")

    with shown_by(show), ThreadPoolExecutor(1) as pool:
        with alone(lock):
            waits = pool.submit(second)
            assert said.wait(10)
            time.sleep(0.05)
            seen.append("first")
        waits.result()
    assert seen == ["first", "second"]


def test_nobody_waits_for_one_that_failed(tmp_path: Path) -> None:
    for _ in range(2):
        try:
            with alone(tmp_path / "lock"):
                raise KeyboardInterrupt
        except KeyboardInterrupt:
            pass
