"""The machine in LiteX's SoCs: what is connected where, and what is refused."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from dtqatten.configuration.core import PRESETS
from dtqatten.configuration.system import SystemConfig
from dtqatten.hw.system import System
from dtqatten.sim.engines.exported import exported

pytest.importorskip("litex_boards")
ROOT = Path(__file__).parents[3]
SYSTEM = SystemConfig(
    core=PRESETS["tiny"].replace(product_stages=2, topk_lanes=4), bus_bits=64, address_bits=32
)
#: What a user writes: `docs/soc.md` has it.
USER = (ROOT / "docs" / "soc.md").read_text("utf-8").split("```py\n")[1].split("```")[0]


def python(code: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a program of its own: Migen and LiteX keep global state."""
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=folder,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "machine.v"
    path.write_text(exported("system", System, SYSTEM))
    return path


def with_source(code: str, source: Path) -> str:
    """Spare the export of the machine."""
    assert code.count("add_dtqatten(soc, system)") == 1
    return code.replace("(soc, system)", f"(soc, system, source={str(source)!r})")


#: Reads a SoC's Verilog with the machine's: ports that do not exist, and widths, are errors.
CHECK = """
import sys
from pyosys import libyosys as ys
design = ys.Design()
ys.run_pass("read_verilog -lib -specify +/ecp5/cells_sim.v +/ecp5/cells_bb.v", design)
for path in sys.argv[1:]:
    ys.run_pass(f"read_verilog {path}", design)
ys.run_pass("hierarchy -check -top radiona_ulx3s", design)
"""


def test_the_ulx3s_takes_it_in_ten_lines(tmp_path: Path, source: Path) -> None:
    assert len([line for line in USER.splitlines() if line.strip()]) <= 10
    done = python(with_source(USER, source), tmp_path)
    assert done.returncode == 0, done.stderr
    built = tmp_path / "build" / "radiona_ulx3s"
    regions = json.loads((built / "csr.json").read_text())["memories"]
    assert regions["main_ram"]["base"] == 0x4000_0000
    assert regions["dtqatten"] == {"base": 0x8000_0000, "size": 4096, "type": "io"}
    verilog = built / "gateware" / "radiona_ulx3s.v"
    script = (built / "gateware" / "radiona_ulx3s.ys").read_text()
    assert f"read_verilog {source}" in script
    command = [sys.executable, "-c", CHECK, str(verilog), str(source)]
    read = subprocess.run(
        command, cwd=built / "gateware", capture_output=True, text=True, check=False
    )
    assert read.returncode == 0, read.stdout[-3000:] + read.stderr
    instance = verilog.read_text().split("\ndtqatten_system dtqatten_system(")[1].split(");")[0]
    listed = r"^//   (?:in |out) (?:\[\d+:0\] )?(\w+)$"
    ports = {"clk", "rst", *re.findall(listed, source.read_text(), re.MULTILINE)}
    assert len(ports) > 40
    connected = {
        line.split("(")[0].strip(" \t.")
        for line in instance.splitlines()
        if line.strip()[:1] == "."
    }
    assert connected == ports


REFUSED = """
from litex_boards.targets.radiona_ulx3s import BaseSoC
from dtqatten import PRESETS, SystemConfig
from dtqatten.boards.litex.machine import add_dtqatten
soc = BaseSoC(cpu_type=None, uart_name="uartbone", integrated_main_ram_size={ram})
core = PRESETS["tiny"].replace(product_stages=2, topk_lanes=4)
system = SystemConfig(core=core, bus_bits={bits}, address_bits={address_bits})
add_dtqatten(soc, system, source={source!r})
"""


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"ram": 4096}, "UsageError: the SoC has no LiteDRAM: call its add_sdram first"),
        (
            {"address_bits": 30},
            "ConfigError: address_bits is 30, but main_ram ends at 0x41ffffff: choose 31 or more",
        ),
        ({"bits": 128}, "machine.v is not that machine: its second line is"),
        ({"source": "missing.v"}, "UsageError: missing.v is not readable: No such file"),
    ],
    ids=["no memory", "address", "other", "missing"],
)
def test_what_is_refused(tmp_path: Path, source: Path, options, said: str) -> None:
    given = {"ram": 0, "bits": 64, "address_bits": 32, "source": str(source)} | options
    done = python(REFUSED.format(**given), tmp_path)
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert said.removeprefix("UsageError: ") in last or said in last, last


NARROW = """
from pathlib import Path
from dtqatten.boards.litex.run import SMALL, SOCS
from dtqatten.boards.litex.simulated import SimulatedSoc
from dataclasses import replace
SimulatedSoc(replace(SOCS["ddr3"], system=SMALL), Path("machine.v"))
"""


def test_a_bus_narrower_than_the_memory_is_refused(tmp_path: Path) -> None:
    done = python(NARROW, tmp_path)
    assert done.stderr.strip().endswith(
        "ConfigError: bus_bits is 64, below the 128 of LiteDRAM's ports, whose converter to wider "
        "ones deadlocks: choose 128, or SDRAM that is not as wide"
    )


WRITTEN = """
from litex_boards.targets.radiona_ulx3s import BaseSoC
from dtqatten.boards.litex.machine import add_dtqatten
from dtqatten.boards.litex.run import SMALL
soc = BaseSoC(cpu_type="vexriscv", integrated_rom_size=4096, integrated_rom_init=[0])
machine = add_dtqatten(soc, SMALL, origin=0x9000_0000)
soc.finalize()
print(soc.bus.regions["dtqatten"].origin, soc.irq.locs["dtqatten"], machine is soc.dtqatten)
"""


def test_its_verilog_is_written_where_there_is_none(tmp_path: Path) -> None:
    """With a CPU, where the user wants it."""
    from dtqatten.boards.litex.run import SMALL

    done = python(WRITTEN, tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [str(0x9000_0000), "2", "True"]
    text = (tmp_path / "build" / "dtqatten" / "dtqatten_system.v").read_text()
    assert text == exported("system", System, SMALL)
