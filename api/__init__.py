"""The public Python interface, a module a function; ``import dtqatten`` offers them."""
