"""Area of a design before it is mapped, by the sizes of its words."""
