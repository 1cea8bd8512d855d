"""Gateware: the attention accelerator in Amaranth, one block a file, the top level last."""
