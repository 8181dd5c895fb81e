"""One HTML page of what benchmarks and runs wrote."""
