"""The C driver as text, and what it knows of memory: compilers, names, regions, planes."""

import ctypes
import random
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from c_driver import OUTCOMES, TENSORS, WARNINGS, Region
from dtqatten.boards.c_sources import FOLDER, SOURCES
from dtqatten.golden.memory import tensor_bytes
from dtqatten.interface.descriptor import FIELDS, Flag, pack
from dtqatten.interface.reference import c_header
from dtqatten.interface.regions import region_sizes
from dtqatten.interface.registers import ErrorCode

RISCV = "riscv64-unknown-elf-gcc"


def test_the_committed_header_is_the_generated_one() -> None:
    text = SOURCES["dtqatten.h"].read_text()
    assert text == c_header(), "run: dtqatten registers, copy dtqatten.h to boards/c"


@pytest.mark.parametrize("name", sorted(name for name in SOURCES if name.endswith(".c")))
@pytest.mark.parametrize(
    "compiler",
    [
        ("gcc", "-O2"),
        (RISCV, "--specs=picolibc.specs", "-Os", "-march=rv32im", "-mabi=ilp32"),
        (
            RISCV,
            "--specs=picolibc.specs",
            "-O2",
            "-march=rv64imac",
            "-mabi=lp64",
            "-mcmodel=medany",
        ),
    ],
    ids=["host", "rv32", "rv64"],
)
def test_it_compiles_without_a_warning(name: str, compiler: tuple[str, ...], tmp_path) -> None:
    if shutil.which(compiler[0]) is None:
        pytest.skip(f"{compiler[0]} is not installed")
    command = [*compiler, *WARNINGS, "-c", SOURCES[name], "-o", tmp_path / "driver.o"]
    subprocess.run(command, check=True)


def test_it_needs_nothing_of_a_c_library_but_two_functions(tmp_path: Path) -> None:
    for name in ("dtqatten_driver", "dtqatten_layout"):
        command = ["gcc", "-std=c11", "-O2", "-ffreestanding", "-c", SOURCES[f"{name}.c"]]
        subprocess.run([*command, "-o", tmp_path / f"{name}.o"], check=True)
        listed = subprocess.run(
            ["nm", "-u", tmp_path / f"{name}.o"], check=True, capture_output=True, text=True
        ).stdout.split()
        wanted = {s for s in listed if s != "U" and not s.startswith(("dtqatten_", "_GLOBAL_"))}
        assert wanted <= {"memcpy", "memset", "__stack_chk_fail"}


def test_the_header_is_one_for_cpp_too(tmp_path: Path) -> None:
    (tmp_path / "user.cpp").write_text('#include "dtqatten_driver.h"\nint main() {}\n')
    command = ["g++", "-std=c++11", "-Wall", "-Wextra", "-pedantic", "-Werror", "-fsyntax-only"]
    subprocess.run([*command, f"-I{FOLDER}", tmp_path / "user.cpp"], check=True)


def test_names_are_those_of_the_tables(library: ctypes.CDLL) -> None:
    for code in ErrorCode:
        assert library.dtqatten_error_name(int(code)).decode() == code.name
    assert library.dtqatten_error_name(77) == b"unknown"
    assert [library.dtqatten_outcome_name(i).decode() for i in range(len(OUTCOMES))] == OUTCOMES
    assert library.dtqatten_outcome_name(len(OUTCOMES)) == b"unknown"
    assert all(library.dtqatten_outcome_meaning(i) for i in range(len(OUTCOMES)))


def test_regions_are_those_of_the_table(library: ctypes.CDLL) -> None:
    rng = random.Random(0)
    names = {number: name for name, number in TENSORS.items()}
    flags = [int(flag) for flag in Flag]
    for _ in range(500):
        # Random fields, and each at its largest.
        fields = {
            field.name: rng.choice([0, 1, (1 << field.bits) - 1, rng.getrandbits(field.bits)])
            for field in FIELDS
        }
        fields["flags"] = rng.choice([0, sum(flags), sum(rng.sample(flags, 9)), *flags])
        d_head = rng.choice([8, 32, 256])
        found = (Region * 16)()
        count = library.dtqatten_regions(pack(fields), d_head, found)
        listed = [(names[r.tensor], r.bytes, r.written) for r in found[:count]]
        assert listed == list(region_sizes(fields, d_head))


def test_planes_are_those_of_the_golden_model(library: ctypes.CDLL) -> None:
    codes = np.resize(np.arange(-120, 120, dtype=np.int8), (1, 9, 32))
    found = ctypes.create_string_buffer(codes.size)
    library.dtqatten_planes(found, codes.tobytes(), ctypes.c_size_t(9), 32)
    assert found.raw == tensor_bytes(codes)


def test_the_example_of_the_page_compiles(tmp_path: Path) -> None:
    page = (Path(__file__).parents[3] / "docs" / "soc.md").read_text("utf-8")
    (tmp_path / "example.c").write_text(page.split("```c\n")[1].split("```")[0])
    command = ["gcc", *WARNINGS, f"-I{FOLDER}", "-fsyntax-only", tmp_path / "example.c"]
    subprocess.run(command, check=True)


def test_outcomes_are_those_of_the_header() -> None:
    text = SOURCES["dtqatten_driver.h"].read_text()
    assert re.findall(r'^    X\((\w+), "', text, re.MULTILINE) == OUTCOMES
