"""A small machine, exported once for all tests of what goes beside it."""

from pathlib import Path

import pytest

from beside import MACHINE, written
from dtqatten.configuration.system import SystemConfig
from dtqatten.hw.blocks import Block
from small_cells import LIBERTY


@pytest.fixture(scope="session")
def machine() -> SystemConfig:
    return MACHINE


@pytest.fixture(scope="session")
def system_package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(Block.SYSTEM, tmp_path_factory.mktemp("system"))


@pytest.fixture(scope="session")
def two_clock_system_package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(Block.SYSTEM, tmp_path_factory.mktemp("two_clocks"), lite_clock=True)


@pytest.fixture(scope="session")
def core_package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(Block.CORE, tmp_path_factory.mktemp("core"))


@pytest.fixture(scope="session")
def liberty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("liberty") / "cells.lib"
    path.write_text(LIBERTY)
    return path
