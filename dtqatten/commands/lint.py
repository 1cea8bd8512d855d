"""``dtqatten lint``: lint of Verilator and slang, and Yosys's check, on every preset's Verilog."""

import os
from concurrent.futures import ThreadPoolExecutor

from dtqatten.commands.console import print_json, show
from dtqatten.commands.options import JsonOption, MachinesOption, fail, machines_of, needs
from dtqatten.configuration.core import PRESETS

__all__ = ["lint"]


def lint(files: MachinesOption = None, as_json: JsonOption = False) -> None:
    """Lint the Verilog of every preset, or of --config; print what is waived, and why."""
    machines = machines_of(None, files, list(PRESETS))
    with needs("lint"):
        from dtqatten.sim.engines.lint import lint_verilog
        from dtqatten.sim.engines.slang import SLANG_WAIVERS, slang_verilog
        from dtqatten.sim.engines.waivers import WAIVERS
        from dtqatten.sim.proofs.yosys import check_verilog
    from dtqatten.hw.base.export import PREFIX, verilog
    from dtqatten.hw.system import System

    waived = WAIVERS | SLANG_WAIVERS
    show(*(f"waived {rule}: {reason}" for rule, reason in waived.items()))
    top = f"{PREFIX}system"

    def faults(text: str) -> str:
        return slang_verilog(text, top) or lint_verilog(text, top) or check_verilog(text, top)

    # The tools take minutes, each a processor.
    pool = ThreadPoolExecutor(os.cpu_count())
    try:
        # The whole machine, core included; the largest first, for it takes longest.
        found = {
            each.name: pool.submit(faults, verilog(System(each.system()), "system"))
            for each in reversed(machines)
        }
        for each in machines:
            if text := found[each.name].result():
                raise fail(f"preset {each.name}:\n{text}")
            show(f"{each.name}: clean")
    finally:
        # After a fault, or Ctrl-C, nobody waits for what has not begun.
        pool.shutdown(cancel_futures=True)
    if as_json:
        print_json({"waived": waived, "clean": [each.name for each in machines]})
