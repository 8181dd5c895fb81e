"""The benchmark of edits: what they change of the background."""
