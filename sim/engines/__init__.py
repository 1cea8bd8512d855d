"""Engines that run gateware: Amaranth's simulator and Verilator in process; Verilator's lint."""
