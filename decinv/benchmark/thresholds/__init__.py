"""The benchmark of evaluations that a method needs to reach an error."""
