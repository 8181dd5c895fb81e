"""The benchmark of decoder inversion: error, time and memory of every method."""
