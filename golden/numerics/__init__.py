"""What the machine computes, bit for bit, and its float64 reference."""
