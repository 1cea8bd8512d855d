"""Area and clock rate of a design, on standard cells and on FPGAs, by open tools."""
