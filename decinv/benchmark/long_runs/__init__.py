"""The benchmarks of very long runs: their tables, their memory and their speed."""
