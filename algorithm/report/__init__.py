"""Every method on models and tasks: measured, drawn, and written into docs/accuracy.md."""
