"""What a design costs: area, clock rate, on standard cells and on FPGAs, by open tools."""
