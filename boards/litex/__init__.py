"""The machine in a LiteX SoC: ``from dtqatten.boards.litex.machine import add_dtqatten``."""
