"""How benchmarks run methods of decoder inversion, and measure them."""
