"""The benchmark of watermarks after attacks."""
