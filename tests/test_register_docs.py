"""What is generated from the tables of registers and descriptors."""

from pathlib import Path

from dtqatten.descriptor import FIELDS, Flag
from dtqatten.register_docs import c_header, markdown
from dtqatten.registers import REGISTERS, Control, ErrorCode, Interrupt, Status


def test_the_committed_table_is_the_generated_one() -> None:
    committed = Path(__file__).parents[1] / "docs" / "registers.md"
    assert committed.read_text() == markdown(), "run: dtqatten registers, copy registers.md to docs"


def test_everything_has_a_meaning_and_a_row() -> None:
    table = markdown()
    for kind in (Control, Status, Interrupt, Flag):
        assert all(f"| `{bit.name}` | {bit.meaning} |" in table for bit in kind)
        assert all(bit.meaning for bit in kind)
    assert all(f"| `{code.name}` | {code.meaning} |" in table for code in ErrorCode)
    assert all(f"`{entry.name}`" in table for entry in (*REGISTERS, *FIELDS))


def test_the_header_has_every_offset_and_code() -> None:
    header = c_header().splitlines()
    for register in REGISTERS:
        assert f"#define DTQATTEN_{register.name.upper()} {register.offset:#05x}u" in header
    for field in FIELDS:
        assert f"#define DTQATTEN_DESCRIPTOR_{field.name.upper()} {field.offset:#04x}u" in header
    for code in ErrorCode:
        assert f"#define DTQATTEN_ERROR_{code.name} {int(code)}u" in header
    assert "#define DTQATTEN_CONTROL_ABORT 0x4u" in header
    assert "#define DTQATTEN_FLAG_CAUSAL 0x2u" in header
    names = [line.split()[1] for line in header if line.startswith("#define")]
    assert len(set(names)) == len(names)
