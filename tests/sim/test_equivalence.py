"""Proofs of equivalence: of what is equivalent, and of nothing that was killed."""

from pathlib import Path

import pytest

from dtqatten.sim.equivalence import Prover
from dtqatten.sim.mutation import CONTROL, Mutants
from dtqatten.sim.mutation_blocks import BLOCKS


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("pe")


@pytest.fixture(scope="module")
def made(scratch: Path) -> Mutants:
    return Mutants(BLOCKS["pe"], "pe", 100, 0, scratch)


@pytest.fixture(scope="module")
def prover(made: Mutants, scratch: Path) -> Prover:
    return Prover(scratch, "dtqatten_pe", made.model, CONTROL, {})


def test_the_block_is_itself(prover: Prover) -> None:
    assert prover.equivalent(0, 60)


def test_what_is_killed_is_never_proved_equivalent(made: Mutants, prover: Prover) -> None:
    killed = [m.number for m in made.mutants if made.first_difference(m.number) is not None]
    assert len(killed) > 20
    for number in killed[:12]:
        assert not prover.equivalent(number, 60)


def test_what_survives_is_proved(made: Mutants, prover: Prover) -> None:
    survived = [m.number for m in made.mutants if made.first_difference(m.number) is None]
    assert survived
    for number in survived:
        assert prover.equivalent(number, 60)


def test_a_proof_that_takes_too_long_proves_nothing(prover: Prover) -> None:
    assert not prover.equivalent(0, 0.001)
