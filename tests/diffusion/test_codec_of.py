import pytest

from decinv.diffusion.bundled import codec_of


@pytest.mark.parametrize(
    ("pipeline", "codec", "expected"),
    [
        ("bundled", None, "bundled"),
        ("bundled-flow", None, "bundled"),
        ("bundled-flow", "other", "other"),
        ("directory", None, "directory"),
        ("directory", "other", "other"),
    ],
)
def test_bundled_models_take_the_bundled_codec(pipeline, codec, expected):
    assert codec_of(pipeline, codec) == expected
