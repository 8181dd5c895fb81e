"""Which chunks are logged, so that the files of loggers stay small however many chunks there are."""

LOGGED = 1000
"""Chunks at the begin of a run that are all logged."""


def is_logged(chunk: int) -> bool:
    """Whether the chunk of this number, from 0, is logged.

    The first 1,000 chunks are, of the 1,000 after them every 2nd, of the 2,000 after those every 4th, and so on: each time
    that the number of chunks doubles, 500 more are logged. Of 125,000 chunks that is 4,477.
    """
    stride = 1 << (chunk // LOGGED).bit_length()
    return chunk % stride == 0
