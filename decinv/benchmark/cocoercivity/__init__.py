"""The benchmark of cocoercivity: what the theorems ask, along each method's path."""
