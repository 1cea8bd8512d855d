"""What runs gateware: Amaranth's simulator, Verilator in process; Verilator's lint."""
