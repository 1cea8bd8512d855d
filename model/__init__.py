"""How fast: the core by its cycle model, and published machines by documented models."""
