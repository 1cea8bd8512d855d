"""Placed figures of a mapped netlist: floorplan, placement, wires, clock tree, repair."""
