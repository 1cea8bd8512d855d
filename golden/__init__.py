"""Golden model: integer, bit-exact and cycle-exact reference of the gateware, without it."""
