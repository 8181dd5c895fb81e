"""The benchmark of memory against the frames of a clip."""
