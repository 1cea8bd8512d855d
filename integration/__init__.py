"""What goes beside the Verilog into others' flows: constraints, descriptions, testbenches."""
