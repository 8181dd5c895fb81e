"""The benchmark of update rules and learning rates."""
