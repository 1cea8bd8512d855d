"""The device tree's binding, as dt-schema reads it: a valid schema, and a node that follows it."""

import re
import shutil
import subprocess
import sysconfig
from collections.abc import Callable
from pathlib import Path

import libfdt
import pytest
import yaml

from dtqatten.boards.c_sources import FOLDER

BINDING = FOLDER / "linux" / "dtqatten,machine.yaml"


def tool(name: str, *arguments: object) -> str:
    """Return what a tool of dt-schema complains of."""
    command = [Path(sysconfig.get_path("scripts")) / name, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


@pytest.fixture
def binding(tmp_path: Path) -> Path:
    """The binding where the kernel has it, which its name says."""
    path = tmp_path / "misc" / BINDING.name
    path.parent.mkdir()
    shutil.copyfile(BINDING, path)
    return path


def example() -> str:
    return yaml.safe_load(BINDING.read_text())["examples"][0]


def cells(values: list[int]) -> bytes:
    return b"".join(value.to_bytes(4, "big") for value in values)


def tree(text: str) -> bytes:
    """Return a device tree of one node, given as source of strings and cells."""
    (name,) = re.findall(r"^\s*(\S+) \{$", text, re.MULTILINE)
    fdt = libfdt.FdtSw()
    fdt.finish_reservemap()
    with fdt.add_node(""):
        fdt.property_u32("#address-cells", 1)
        fdt.property_u32("#size-cells", 1)
        fdt.property_u32("interrupt-parent", 1)
        with fdt.add_node("interrupt-controller"):
            fdt.property("interrupt-controller", b"")
            fdt.property_u32("#interrupt-cells", 1)
            fdt.property_u32("phandle", 1)
        with fdt.add_node(name):
            for key, value in re.findall(r"([\w-]+) = (.*?);", text, re.DOTALL):
                strings = re.findall(r'"(.*?)"', value)
                numbers = [int(each, 0) for each in re.findall(r"0x\w+|\d+", value)]
                data = b"".join(f"{each}\0".encode() for each in strings)
                fdt.property(key, data or cells(numbers))
    return fdt.as_fdt().as_bytearray()


def complaints(binding: Path, text: str) -> str:
    path = binding.parent / "tree.dtb"
    path.write_bytes(tree(text))
    said = tool("dt-validate", "-s", binding.parent, path)
    # The rest of the tree is not what is described.
    return "".join(each for each in re.split(r"^(?=\S)", said, flags=re.M) if "attention@" in each)


def test_it_is_a_valid_schema(binding: Path) -> None:
    assert tool("dt-doc-validate", binding) == ""
    binding.write_text(binding.read_text().replace("maxItems: 1", "maxItem: 1", 1))
    assert "'maxItem' is not one of" in tool("dt-doc-validate", binding)


def test_its_example_follows_it(binding: Path) -> None:
    assert complaints(binding, example()) == ""


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (lambda text: re.sub(r"\s*interrupts.*", "", text), "'interrupts' is a required property"),
        (lambda text: re.sub(r", <0x43f.*?>", "", text), "reg"),
        (lambda text: text.replace('"memory"', '"rams"'), "reg-names"),
        (lambda text: text.replace("machine-3", "machine-2"), "compatible"),
        (lambda text: text.replace("interrupts", "latency = <5>; interrupts"), "latency"),
    ],
    ids=["interrupt", "memory", "name", "version", "property"],
)
def test_other_nodes_do_not(binding: Path, wrong: Callable[[str], str], said: str) -> None:
    assert said in complaints(binding, wrong(example()))
