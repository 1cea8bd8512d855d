"""The demo, benchmarks and studies."""
