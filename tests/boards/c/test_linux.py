"""The Linux program with the C driver: it compiles, and it says what it does not find."""

import subprocess
from pathlib import Path

import pytest
import yaml

from c_driver import WARNINGS
from driven import GOOD, golden
from dtqatten.boards.c_layers import c_chain
from dtqatten.boards.c_sources import FOLDER
from dtqatten.interface.descriptor import VERSION
from dtqatten.interface.registers import ADDRESS_BITS, IDENTIFIER, offset_of


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("linux")
    (folder / "chain.c").write_text(c_chain(GOOD, golden()))
    sources = [*FOLDER.glob("*.c"), *(FOLDER / "linux").glob("*.c"), folder / "chain.c"]
    command = ["gcc", *WARNINGS, "-O2", f"-I{FOLDER}", f"-I{FOLDER / 'linux'}", *sources]
    subprocess.run([*command, "-o", folder / "program"], check=True)
    return folder / "program"


def device(folder: Path, registers: bytes) -> list[str]:
    """Return a file for a device, and a folder for what the kernel says of it."""
    for number, (address, size) in enumerate(((0x8000_0000, 4096), (0x43F0_0000, 4096))):
        described = folder / "maps" / f"map{number}"
        described.mkdir(parents=True)
        (described / "addr").write_text(f"{address:#x}\n")
        (described / "size").write_text(f"{size:#x}\n")
    (folder / "uio0").write_bytes(registers.ljust(2 * 4096, b"\0"))
    return [str(folder / "uio0"), str(folder)]


def words(**values: int) -> bytes:
    found = bytearray(1 << ADDRESS_BITS)
    for name, value in values.items():
        found[offset_of(name) : offset_of(name) + 4] = value.to_bytes(4, "little")
    return bytes(found)


@pytest.mark.parametrize(
    ("registers", "said"),
    [
        ({}, "NO_MACHINE: the register id is not the machine's"),
        ({"id": IDENTIFIER, "version": VERSION + 1}, "OTHER_VERSION: "),
        ({"id": IDENTIFIER, "version": VERSION, "address_bits": 16}, "BAD_MEMORY: "),
        # So little memory is for outputs alone.
        ({"id": IDENTIFIER, "version": VERSION, "address_bits": 32}, "BAD_MEMORY: "),
    ],
    ids=["none", "version", "address", "small"],
)
def test_what_is_no_machine(program: Path, tmp_path: Path, registers, said: str) -> None:
    command = [program, *device(tmp_path, words(**registers))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(said)


def test_a_machine_that_does_not_answer(program: Path, tmp_path: Path) -> None:
    """Registers that keep what is written to them: the layer never begins."""
    known = {"id": IDENTIFIER, "version": VERSION, "address_bits": 32, "d_head": 32}
    command = device(tmp_path, words(**known))
    (tmp_path / "maps/map1/size").write_text("0x10000\n")
    (tmp_path / "uio0").write_bytes((tmp_path / "uio0").read_bytes().ljust(0x11000, b"\0"))
    done = subprocess.run([program, *command], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("STALE: ")
    raw = (tmp_path / "uio0").read_bytes()
    window = [
        int.from_bytes(raw[offset_of(name) :][:8], "little")
        for name in ("read_base", "read_limit", "write_base", "write_limit", "descriptor")
    ]
    base, border = 0x43F0_0000, 0x43F0_C000
    assert window == [base, border - 1, border, base + 0xFFFF, base]


@pytest.mark.parametrize("missing", ["uio0", "maps/map0/size", "maps/map1/addr", "maps/map1/size"])
def test_no_device(program: Path, tmp_path: Path, missing: str) -> None:
    command = [program, *device(tmp_path, b"")]
    (tmp_path / missing).unlink()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == f"{tmp_path / 'uio0'}: No such file or directory\n"


def test_the_binding_is_of_this_version() -> None:
    binding = yaml.safe_load((FOLDER / "linux" / "dtqatten,machine.yaml").read_text())
    names = binding["properties"]
    assert names["compatible"]["items"] == [
        {"const": f"dtqatten,machine-{VERSION}"},
        {"const": "generic-uio"},
    ]
    assert len(names["reg"]["items"]) == len(names["reg-names"]["items"]) == 2
    assert set(binding["required"]) <= names.keys()
    assert binding["examples"][0].count(f"dtqatten,machine-{VERSION}") == 1
