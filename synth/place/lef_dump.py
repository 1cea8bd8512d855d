"""Print the cells of LEF files as JSON: a program of its own, since `lefdef` aborts on errors."""

import json
import sys
from typing import Any

import lefdef


def cells(path: str) -> list[dict[str, Any]]:
    """Return name, class, size and signal pins of every cell in a file."""
    reader = lefdef.C_LefReader()
    read = reader.read(path)
    found = []
    for i in range(read.c_num_macros):
        cell = read.c_macros[i]
        pins = {}
        for j in range(cell.c_num_pins):
            pin = cell.c_pins[j]
            if (pin.c_use or b"SIGNAL") in (b"POWER", b"GROUND"):
                continue
            ports = [pin.c_ports[k] for k in range(pin.c_num_ports)]
            shapes = [port.c_rects[k] for port in ports for k in range(port.c_num_rects)]
            if shapes:
                pins[pin.c_name.decode()] = [
                    (pin.c_direction or b"").decode(),
                    (min(s.c_xl for s in shapes) + max(s.c_xh for s in shapes)) / 2,
                    (min(s.c_yl for s in shapes) + max(s.c_yh for s in shapes)) / 2,
                ]
        found.append(
            {
                "name": cell.c_name.decode(),
                "class": (cell.c_class or b"").decode(),
                "size": [cell.c_size_x, cell.c_size_y],
                "origin": [cell.c_origin_x, cell.c_origin_y],
                "pins": pins,
            }
        )
    return found


if __name__ == "__main__":
    with open(sys.argv[1], "w") as target:
        json.dump([cells(path) for path in sys.argv[2:]], target)
