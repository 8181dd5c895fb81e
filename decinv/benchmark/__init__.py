"""Benchmarks: tables and figures, made by one command each: ``python -m decinv.benchmark NAME --out DIR``."""
