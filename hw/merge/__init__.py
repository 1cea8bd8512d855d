"""The merger: segments of a row's keys, one after another."""
