"""The figures that benchmarks share."""
