"""The benchmark of codecs that are hard on purpose."""
