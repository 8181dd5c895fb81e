import pytest

from decinv.diffusion.captions import LONGEST, WORDS, caption


def test_a_caption_reads_from_left_to_right():
    things = [("red", "circle"), ("blue", "star"), ("green", "ring")]
    assert caption(things, "striped", "white") == "a red circle and a blue star and a green ring on a striped white background"


def test_the_longest_caption_fits():
    words = caption([("red", "circle")] * 3, "plain", "white").split()
    assert len(words) == LONGEST
    assert set(words) <= set(WORDS)


@pytest.mark.parametrize(
    ("things", "texture", "colour", "text"),
    [
        ([], "plain", "red", "got 0"),
        ([("red", "circle")] * 4, "plain", "red", "got 4"),
        ([("pink", "circle")], "plain", "red", "got 'pink'"),
        ([("red", "heart")], "plain", "red", "got 'heart'"),
        ([("red", "circle")], "furry", "red", "got 'furry'"),
        ([("red", "circle")], "plain", "pink", "got 'pink'"),
    ],
)
def test_other_words_are_refused(things, texture, colour, text):
    with pytest.raises(ValueError, match=text):
        caption(things, texture, colour)
