"""Simulation: runners, testbench classes and studies of the generated Verilog."""
