#!/usr/bin/env python3
"""Tell whether two folders of Verilog hold the same circuits, names and hierarchy aside.

usage: .venv/bin/python tools/same_verilog.py BEFORE AFTER

For changes that must not change the hardware: write all blocks with `dtqatten verilog` before and
after. Every file, Verilog or RTLIL, is read by Yosys and flattened to cells. Circuits are the same
if colour refinement (Weisfeiler and Leman), anchored at port names and cell types, gives both the
same colours. A file that is the same to the letter is not read.
"""

import hashlib
import json
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np

#: Parameters that are names, or follow from the order of the text: words of a memory are
#: initialized once, so that their order does not matter.
NAMES = {"MEMID", "TEXT", "PRIORITY"}


def mixed(x: np.ndarray) -> np.ndarray:
    """Return well-mixed 64-bit hashes (the finalizer of splitmix64)."""
    x = x.astype(np.uint64)
    with np.errstate(over="ignore"):
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def hash_of(*parts: object) -> int:
    """Return a 64-bit hash that is the same in every process."""
    return int.from_bytes(hashlib.blake2b(repr(parts).encode(), digest_size=8).digest(), "little")


#: Cells that a swap of A and B does not change; Yosys orders both by name when it merges cells.
EITHER_WAY = {
    *("$and", "$or", "$xor", "$xnor", "$add", "$mul", "$eq", "$ne", "$logic_and", "$logic_or"),
    *("$_AND_", "$_OR_", "$_XOR_"),
}
#: Cells whose bits of A have no order.
ANY_ORDER = {"$reduce_and", "$reduce_or", "$reduce_bool", "$reduce_xor", "$reduce_xnor"}
#: Verdicts, the strictest first, and the passes behind flattening that each compares after.
VIEWS = {
    "": (),
    ", equal cells merged": ("opt_merge", "opt_expr"),
    ", bit by bit": ("opt_merge", "opt_expr", "simplemap", "opt_expr", "opt_merge"),
}


def netlist(path: Path, view: str) -> dict:
    """Return Yosys's JSON of the flattened module that the file is named after."""
    read = "read_rtlil" if path.suffix == ".il" else "read_verilog"
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "netlist.json")
        passes = [
            f"{read} {path}",
            f"hierarchy -top {path.stem}",
            "proc",
            "flatten",
            "opt_expr",
            *VIEWS[view],
            "opt_clean -purge",
            f"write_json {out}",
        ]
        run = "from pyosys import libyosys as y\nd = y.Design()\n" + "".join(
            f"y.run_pass({line!r}, d)\n" for line in passes
        )
        subprocess.run([sys.executable, "-c", run], check=True, stdout=subprocess.DEVNULL)
        modules = json.loads(out.read_text())["modules"]
    if len(modules) != 1:
        raise SystemExit(f"{path}: {len(modules)} modules after flattening")
    return next(iter(modules.values()))


def colours(module: dict) -> np.ndarray:
    """Return the sorted colours of a module's cells and nets."""
    nets: dict[object, int] = {}
    base: list[int] = []

    def net(bit: object) -> int:
        if bit not in nets:
            nets[bit] = len(base)
            base.append(hash_of("constant", bit) if isinstance(bit, str) else 1)
        return nets[bit]

    for name, port in module["ports"].items():
        for i, bit in enumerate(port["bits"]):
            at = net(bit)
            if not isinstance(bit, str):
                base[at] = (base[at] + hash_of(name, port["direction"], i)) % (1 << 64)
    kinds, pin_cell, pin_net, pin_label = [], [], [], []
    labels: dict[tuple[str, int], int] = {}
    for number, cell in enumerate(module["cells"].values()):
        parameters = sorted((k, v) for k, v in cell["parameters"].items() if k not in NAMES)
        kinds.append(hash_of(cell["type"], parameters))
        # The ports of a memory share a net of its own: their order depends on names.
        if "MEMID" in cell["parameters"]:
            memory = cell["parameters"]["MEMID"].removeprefix("\\")
            if ("memory", memory) not in nets:
                about = module["memories"][memory]
                base[net(("memory", memory))] = hash_of(
                    [about[k] for k in ("width", "size", "start_offset")]
                )
            pin_cell.append(number)
            pin_net.append(net(("memory", memory)))
            pin_label.append(hash_of("memory"))
        given = cell["parameters"]
        swaps = cell["type"] in EITHER_WAY and all(
            given.get(f"A_{about}") == given.get(f"B_{about}") for about in ("WIDTH", "SIGNED")
        )
        for port, bits in cell["connections"].items():
            for i, bit in enumerate(bits):
                unordered = port == "A" and cell["type"] in ANY_ORDER
                key = ("A" if swaps and port == "B" else port, 0 if unordered else i)
                if key not in labels:
                    labels[key] = hash_of(key)
                pin_cell.append(number)
                pin_net.append(net(bit))
                pin_label.append(labels[key])
    # Initial values are attributes of nets, of which a bit may have several.
    inits: dict[object, str] = {}
    for wire in module["netnames"].values():
        init = wire.get("attributes", {}).get("init")
        if init is not None:
            for bit, value in zip(wire["bits"], reversed(init), strict=False):
                known = not isinstance(bit, str) and bit in nets and value in "01"
                if known and inits.setdefault(bit, value) != value:
                    raise SystemExit(f"bit {bit} has two initial values")
    for bit, value in inits.items():
        base[nets[bit]] ^= hash_of("init", value)
    cells, wires = np.array(kinds, np.uint64), np.array(base, np.uint64)
    fixed = np.array([isinstance(bit, str) for bit in nets])
    cell_of, net_of = np.array(pin_cell, np.int64), np.array(pin_net, np.int64)
    label = np.array(pin_label, np.uint64)
    count = -1
    with np.errstate(over="ignore"):
        while True:
            sums = np.zeros_like(wires)
            np.add.at(sums, net_of, mixed(cells[cell_of] ^ label))
            wires = np.where(fixed, wires, mixed(wires * np.uint64(3) + sums))
            sums = np.zeros_like(cells)
            np.add.at(sums, cell_of, mixed(wires[net_of] ^ label))
            cells = mixed(cells * np.uint64(3) + sums)
            classes = len(np.unique(cells)) + len(np.unique(wires))
            if classes == count:
                return np.sort(np.concatenate([cells, wires]))
            count = classes


def registers(module: dict) -> Counter[str]:
    """Return the bits of flip-flops and the memories' sizes, before equal cells are merged."""
    found: Counter[str] = Counter()
    for cell in module["cells"].values():
        if "ff" in cell["type"].lower() or "latch" in cell["type"]:
            found["flip-flops"] += len(cell["connections"]["Q"])
    for memory in module.get("memories", {}).values():
        found[f"{memory['size']} words of {memory['width']}"] += 1
    return found


def main() -> int:
    """Compare file by file; exit 1 if a circuit differs or is missing."""
    before, after = map(Path, sys.argv[1:3])
    names = sorted(
        {p.relative_to(d) for d in (before, after) for e in ("v", "il") for p in d.rglob(f"*.{e}")}
    )
    different = 0
    for name in names:
        a, b = before / name, after / name
        if not (a.is_file() and b.is_file()):
            verdict = "only before" if a.is_file() else "only after"
        elif a.read_bytes() == b.read_bytes():
            verdict = "same text"
        else:
            verdict = "DIFFERENT"
            for view in VIEWS:
                x, y = netlist(a, view), netlist(b, view)
                if not view and registers(x) != registers(y):
                    verdict = f"DIFFERENT registers: {registers(x)}, {registers(y)}"
                    break
                x, y = colours(x), colours(y)
                if len(x) == len(y) and bool((x == y).all()):
                    verdict = f"same circuit ({len(x)} cells and nets){view}"
                    break
        different += verdict.startswith(("DIFFERENT", "only"))
        print(f"{name}: {verdict}", flush=True)
    return int(different > 0)


if __name__ == "__main__":
    sys.exit(main())
