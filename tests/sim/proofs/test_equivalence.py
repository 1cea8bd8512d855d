"""Proofs of equivalence: of what is equivalent, and of nothing that was killed."""

from pathlib import Path

import pytest

from dtqatten.sim.proofs.equivalence import Prover
from dtqatten.sim.proofs.mutation import CONTROL, Mutants
from dtqatten.sim.proofs.mutation_blocks import BLOCKS


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
    assert prover.equivalent(0, "dtqatten_pe", 60)


def test_what_is_killed_is_never_proved_equivalent(made: Mutants, prover: Prover) -> None:
    killed = [m.number for m in made.mutants if made.first_difference(m.number) is not None]
    assert len(killed) > 20
    for number in killed[:12]:
        assert not prover.equivalent(number, "dtqatten_pe", 60)


def test_what_survives_is_proved(made: Mutants, prover: Prover) -> None:
    survived = [m.number for m in made.mutants if made.first_difference(m.number) is None]
    assert survived
    for number in survived:
        assert prover.equivalent(number, "dtqatten_pe", 60)


def test_a_proof_that_takes_too_long_proves_nothing(prover: Prover) -> None:
    assert not prover.equivalent(0, "dtqatten_pe", 0.001)


def test_a_module_alone_is_proved_equal_and_never_where_it_was_killed(tmp_path: Path) -> None:
    made = Mutants(BLOCKS["normalizer"], "normalizer", 60, 0, tmp_path)
    prover = Prover(tmp_path, "dtqatten_normalizer", made.model, CONTROL, {})
    inner = [m for m in made.mutants if m.module == "dtqatten_normalizer_lane"]
    killed = [m for m in inner if made.first_difference(m.number) is not None]
    assert killed
    for mutant in killed[:4]:
        assert not prover.equivalent(mutant.number, mutant.module, 5)
    assert prover.equivalent(0, "dtqatten_normalizer_lane", 60)
