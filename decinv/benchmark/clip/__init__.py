"""The benchmark of a clip, frame by frame."""
