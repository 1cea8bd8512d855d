"""What every block is built from: pipelines, memories, streams, and the export to Verilog."""
