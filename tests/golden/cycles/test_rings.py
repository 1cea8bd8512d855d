"""Where beats wait in the cycle models: room, order and the cycle from which on it counts."""

from dtqatten.golden.cycles.rings import Buffered, Fifo, Ring, TokenStore


def test_room_of_a_row_read_is_free_at_once_or_a_cycle_later() -> None:
    for late in (False, True):
        ring = Ring(3, late=late)
        assert ring.room == 3 + late
        ring.room = 0
        seen = []
        for read in (True, False, False):
            ring.count(read=read)
            seen.append(ring.room)
        assert seen == ([0, 1, 1] if late else [1, 1, 1])


def test_a_row_written_is_offered_two_cycles_later_and_stays() -> None:
    fifo = Fifo(2)
    fifo.room -= 1
    offers = []
    for cycle in range(5):
        fifo.clock(ready=cycle == 3)
        if cycle == 0:
            fifo.write("row")
        offers.append(fifo.offered)
    # Written in cycle 0, there in cycles 2 and 3, in which it is taken.
    assert offers == [None, "row", "row", None, None]
    assert fifo.room == 2


def test_two_beats_wait_in_their_order() -> None:
    place: Buffered[str] = Buffered()
    place.clock("a", taken=False)
    assert (place.offered, place.ready) == ("a", True)
    place.clock("b", taken=False)
    assert (place.offered, place.ready) == ("a", False)
    place.clock(None, taken=True)
    assert (place.offered, place.ready) == ("b", True)
    place.clock("c", taken=True)
    assert (place.offered, place.ready) == ("c", True)
    place.clock(None, taken=True)
    assert place.offered is None


def test_tokens_fill_words_until_all_slots_are_held() -> None:
    store = TokenStore(2, 2)
    for token, last in (("a", False), ("b", False), ("c", True)):
        assert store.ready
        store.take(token, last=last)
    assert list(store.words) == [["a", "b"], ["c"]]
    assert not store.ready
    store.free(1)
    assert store.ready
    assert list(store.words) == [["c"]]
