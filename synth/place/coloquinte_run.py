"""Place a circuit with Coloquinte: a program of its own, which can be stopped at any time.

Arguments: the circuit's ``.npz``, the result's ``.npz``, effort, and the steps to run, of
``global``, ``legal`` and ``detailed``.
"""

import sys

import coloquinte
import numpy as np


def legalize(circuit: coloquinte.Circuit, effort: int, widths: list[list[int]]) -> None:
    """Find legal places, with the first widths for which there are some."""
    x, y = circuit.cell_x, circuit.cell_y
    for width in widths:
        circuit.cell_width, circuit.cell_x, circuit.cell_y = width, x, y
        try:
            circuit.legalize(effort)
        except RuntimeError:
            if width is widths[-1]:
                raise
        else:
            return


def main(source: str, target: str, effort: int, steps: list[str]) -> None:
    """Read, place, write positions, orientations, and the widths for which they are."""
    given = np.load(source)
    circuit = coloquinte.Circuit(len(given["x"]))
    circuit.cell_width = given["width"][0].tolist()
    circuit.cell_height = given["height"].tolist()
    circuit.cell_x = given["x"].tolist()
    circuit.cell_y = given["y"].tolist()
    circuit.cell_is_fixed = given["fixed"].tolist()
    circuit.cell_is_obstruction = given["obstruction"].tolist()
    right, top, row = given["core"].tolist()
    circuit.setup_rows(coloquinte.Rectangle(0, right, 0, top), row, True, True)
    cells, dx, dy = (given[key].tolist() for key in ("pin_cell", "pin_x", "pin_y"))
    first = 0
    for end in given["net_end"].tolist():
        circuit.add_net(cells[first:end], dx[first:end], dy[first:end])
        first = end
    circuit.check()
    if "global" in steps:
        circuit.place_global(effort)
    if "legal" in steps:
        legalize(circuit, effort, given["width"][1:].tolist())
    if "detailed" in steps:
        circuit.place_detailed(effort)
    flips = {"N": (0, 0), "FS": (0, 1), "FN": (1, 0), "S": (1, 1)}
    turned = [flips[orientation.name] for orientation in circuit.cell_orientation]
    np.savez(
        target,
        x=np.array(circuit.cell_x),
        y=np.array(circuit.cell_y),
        width=np.array(circuit.cell_width),
        flip=np.array(turned, dtype=bool),
    )


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4:])
