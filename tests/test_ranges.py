import math

import pytest

from decinv.ranges import refuse_below


def test_what_is_below_is_named_and_null_is_in_range():
    refuse_below(1, count=1, limit=None)
    for value in (0, -1.5, math.nan):
        with pytest.raises(ValueError, match=rf"^Expected `limit` to be at least 1, but got {value}\.$"):
            refuse_below(1, count=1, limit=value)
