"""A testbench a block: the RTL beside its cycle model, compared on every clock edge."""
