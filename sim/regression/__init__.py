"""The cocotb testbenches on Icarus and Verilator, and the scenarios that they run."""
