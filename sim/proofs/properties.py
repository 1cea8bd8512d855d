"""What is proved of masters and registers: statements, harnesses, and how far each proof goes."""

from collections.abc import Callable
from dataclasses import dataclass

from dtqatten.sim.proofs.choice_harnesses import ChoiceHarness
from dtqatten.sim.proofs.crossing_harnesses import CrossingHarness, InterruptHarness
from dtqatten.sim.proofs.harness import Proof
from dtqatten.sim.proofs.head_harnesses import HeadsHarness
from dtqatten.sim.proofs.master_harnesses import ReadHarness, WriteHarness
from dtqatten.sim.proofs.reader_harnesses import GroupHarness, RunHarness, TrialHarness
from dtqatten.sim.proofs.register_harnesses import LiteHarness, LockHarness

__all__ = ["PROPERTIES", "Property"]


@dataclass(frozen=True)
class Property:
    """A statement, the harness that asserts it, and how it is proved.

    Parameters
    ----------
    name : str
    statement : str
    harness : function
        Gives, for the name, a component with an assertion called ``name``.
    cycles : int
        Depth of the induction, or of the bounded check.
    inductive : bool
        Proved by induction, for runs of any length; else for ``cycles`` cycles from reset.
    """

    name: str
    statement: str
    harness: Callable[[str], Proof]
    cycles: int
    inductive: bool


#: All that ``make formal`` proves.
PROPERTIES: tuple[Property, ...] = tuple(
    Property(name, statement, harness, cycles, cycles <= 3)
    for harness, name, statement, cycles in (
        (ReadHarness, "read_stable", "AR stays as it is until it is accepted", 3),
        (
            ReadHarness,
            "read_legal",
            "reads are of whole words, at most burst_beats, or of one aligned part",
            3,
        ),
        (ReadHarness, "read_page", "no read crosses 4 KiB", 3),
        (ReadHarness, "read_window", "no read leaves the read window", 3),
        (ReadHarness, "read_always_taken", "R never waits", 3),
        (ReadHarness, "read_late", "no late stream is chosen before one that is not", 3),
        (ReadHarness, "read_reserved", "no read is issued whose data has no room", 16),
        (ReadHarness, "read_counted", "idle means that every word read has come", 16),
        (WriteHarness, "write_stable", "AW and W stay as they are until accepted", 3),
        (WriteHarness, "write_legal", "writes are of whole words, at most burst_beats", 3),
        (WriteHarness, "write_page", "no write crosses 4 KiB", 3),
        (WriteHarness, "write_window", "no write leaves the write window", 3),
        (WriteHarness, "write_last", "WLAST marks a burst's last word and no other", 20),
        (WriteHarness, "write_data_ready", "a burst's data never waits for the core", 20),
        (LiteHarness, "lite_stable", "B and R of the registers stay until accepted", 3),
        (LiteHarness, "lite_together", "a write is taken with address and data at once", 3),
        (LiteHarness, "lite_counted", "every access of a register is answered once", 3),
        (LockHarness, "windows_locked", "windows do not change while the machine is busy", 3),
        (WriteHarness, "write_counted", "idle means every burst is out and answered", 20),
        (RunHarness, "low_inside", "runs of a low plane lie in that plane of their head", 10),
        (RunHarness, "low_once", "no head has more bytes of it than its 8-bit slots", 12),
        (RunHarness, "low_whole", "idle means that every head has all of them", 12),
        (
            TrialHarness,
            "trial_flat",
            "no low plane of a tried head is read unless a row is flat",
            12,
        ),
        (TrialHarness, "trial_place", "it is that of the head whose verdict was taken", 12),
        (
            TrialHarness,
            "trial_whole",
            "idle means that all of the flat heads, and no other, is",
            12,
        ),
        (ChoiceHarness, "choice_told", "no value is read before its group has been chosen", 14),
        (ChoiceHarness, "choice_place", "a run of values is of the next chosen group", 12),
        (ChoiceHarness, "choice_whole", "idle means that all chosen groups, and no other, are", 14),
        (GroupHarness, "rows_aligned", "rows of the 4-bit class fill row blocks, or are all", 10),
        (GroupHarness, "rows_most", "no query more would do, of those next to the boundary", 10),
        (GroupHarness, "rows_over", "more rows than a head can have are told", 10),
        (HeadsHarness, "heads_many", "as many heads stay as a layer keeps", 14),
        (HeadsHarness, "heads_gone", "no head comes back that was pruned", 28),
        (HeadsHarness, "heads_report", "a report is of a layer that asks, and stays", 14),
        (
            CrossingHarness,
            "crossing_once",
            "from any clock to any other an access arrives as it was sent, and once",
            3,
        ),
        (
            CrossingHarness,
            "crossing_answered",
            "it has one answer, the registers' or, if their reset meets it, SLVERR",
            3,
        ),
        (
            CrossingHarness,
            "crossing_settled",
            "words that cross have been still for two edges of the clock that takes them",
            3,
        ),
        (CrossingHarness, "crossing_reset", "a reset of both clocks leaves nothing under way", 24),
        (
            InterruptHarness,
            "crossing_interrupt",
            "the interrupt is low when the write is answered that clears it",
            20,
        ),
    )
)
