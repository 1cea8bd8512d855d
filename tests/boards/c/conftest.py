"""The C driver, compiled once."""

import ctypes

import pytest

from c_driver import compile_library


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    return compile_library(tmp_path_factory.mktemp("driver"))
