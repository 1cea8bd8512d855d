"""What is generated from the tables of registers and descriptors."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from dtqatten.golden.memory import head_table_bytes
from dtqatten.golden.numerics.softmax import Multiplier
from dtqatten.interface.descriptor import FIELDS, MAGIC, VERSION, Flag, pack
from dtqatten.interface.reference import c_header, markdown
from dtqatten.interface.registers import REGISTERS, Control, ErrorCode, Interrupt, Status


def test_the_committed_table_is_the_generated_one() -> None:
    committed = Path(__file__).parents[2] / "docs" / "registers.md"
    assert committed.read_text() == markdown(), "run: dtqatten registers, copy registers.md to docs"


def test_everything_has_a_meaning_and_a_row() -> None:
    table = markdown()
    for kind in (Control, Status, Interrupt, Flag):
        assert all(f"| `{bit.name}` | {bit.meaning} |" in table for bit in kind)
        assert all(bit.meaning for bit in kind)
    assert all(f"| `{code.name}` | {code.meaning} |" in table for code in ErrorCode)
    assert all(f"`{entry.name}`" in table for entry in (*REGISTERS, *FIELDS))


def defines() -> dict[str, int]:
    """Return the header's constants, read as text."""
    found = re.findall(r"^#define (DTQATTEN_\w+) (0x[0-9a-f]+|\d+)u\b", c_header(), re.MULTILINE)
    assert len({name for name, _ in found}) == len(found)
    return {name: int(value, 0) for name, value in found}


def test_the_header_has_every_offset_value_and_code() -> None:
    known = defines()
    for register in REGISTERS:
        assert known.pop(f"DTQATTEN_REG_{register.name.upper()}") == register.offset
    for field in FIELDS:
        assert known.pop(f"DTQATTEN_DESC_{field.name.upper()}") == field.offset
    errors = re.findall(r"^    X\((\w+), (\d+)\)", c_header(), re.MULTILINE)
    assert [(name, int(number)) for name, number in errors] == [(c.name, c) for c in ErrorCode]
    for kind in (Control, Status, Interrupt, Flag):
        name = f"DTQATTEN_{kind.__name__.upper()}"
        assert known.pop(f"{name}_MASK") == sum(known.pop(f"{name}_{bit.name}") for bit in kind)
    assert known == {
        "DTQATTEN_ID": int.from_bytes(b"DTQA", "little"),
        "DTQATTEN_VERSION": VERSION,
        "DTQATTEN_MAGIC": int.from_bytes(b"DT", "little"),
        "DTQATTEN_APERTURE_BYTES": 512,
        "DTQATTEN_PAGE_BYTES": 4096,
        "DTQATTEN_ALIGNMENT": 64,
        "DTQATTEN_DESCRIPTOR_BYTES": 256,
        "DTQATTEN_READY_BYTES": 8,
        "DTQATTEN_HEAD_BYTES": 8,
        "DTQATTEN_REPORT_BYTES": 8,
        "DTQATTEN_HEAD_SHIFT_MAX": 40,
        "DTQATTEN_OUTPUT_SHIFT_MAX": 7,
    }


#: Writes a descriptor and an entry of the head table, each field with a value of its own.
PROGRAM = """
#include <stdio.h>
#include "dtqatten.h"

int main(void) {{
    struct dtqatten_descriptor descriptor = {{0}};
    struct dtqatten_head head = {{0}};
{assignments}
    head.multiplier = 0x1234u;
    head.shift = 0x56u;
    head.sink = -3;
    head.weight = 0x789au;
    head.weight_shift = 0x0bu;
    return fwrite(&descriptor, sizeof descriptor, 1, stdout) != 1 ||
           fwrite(&head, sizeof head, 1, stdout) != 1;
}}
"""


@pytest.mark.skipif(sys.byteorder != "little", reason="the structs are for little-endian hosts")
@pytest.mark.parametrize(
    "compiler",
    [("gcc", "-std=c11"), ("g++", "-std=c++11")],
    ids=" ".join,
)
def test_structs_in_c_have_the_bytes_of_the_table(tmp_path, compiler) -> None:
    values = {
        field.name: int.from_bytes(bytes(range(i + 1, i + 1 + field.bits // 8)), "big")
        for i, field in enumerate(FIELDS)
    } | {"magic": MAGIC, "version": VERSION}
    given = {name: f"{value:#x}u" for name, value in values.items()}
    given |= {"magic": "DTQATTEN_MAGIC", "version": "DTQATTEN_VERSION"}
    (tmp_path / "dtqatten.h").write_text(c_header())
    source = tmp_path / ("main.cpp" if compiler[0] == "g++" else "main.c")
    assignments = "\n".join(f"    descriptor.{name} = {value};" for name, value in given.items())
    text = PROGRAM.format(assignments=assignments)
    if compiler[0] == "g++":
        text = text.replace("{0}", "{}")
    source.write_text(text)
    warnings = ("-Wall", "-Wextra", "-pedantic", "-Werror")
    run = [compiler[0], *warnings, *compiler[1:], str(source), "-o", str(tmp_path / "main")]
    subprocess.run(run, check=True)
    raw = subprocess.run([tmp_path / "main"], check=True, capture_output=True).stdout
    assert raw == pack(values) + head_table_bytes(
        [0x1234], [0x56], [-3], Multiplier(np.array([0x789A]), np.array([0x0B]))
    )
