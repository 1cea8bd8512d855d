"""The machine on FPGA boards: bitstreams, a simulated board, and a host at the other end."""
