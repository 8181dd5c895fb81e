"""Which frames make a clip."""

from fractions import Fraction

import pytest

from decinv.video import Clip, Moment, cut, shown_at

REGULAR = tuple(Fraction(number, 10) for number in range(7))


def frames(clips):
    return {clip.name: [moment.frame for moment in clip.moments] for clip in clips}


def test_clips_follow_one_another():
    assert frames(cut("a", REGULAR, 3)) == {"a-0000": [0, 1, 2], "a-0001": [3, 4, 5], "a-0002": [6]}
    assert frames(cut("a", REGULAR, 3, most=2)) == {"a-0000": [0, 1, 2], "a-0001": [3, 4, 5]}
    assert frames(cut("a", REGULAR, 2, stride=3)) == {"a-0000": [0, 3], "a-0001": [6]}
    assert frames(cut("a", REGULAR)) == {"a": list(range(7))}
    assert cut("a", ()) == []


def test_a_short_end_is_left_out_unless_it_is_all():
    assert frames(cut("a", REGULAR, 3, whole=True)) == {"a-0000": [0, 1, 2], "a-0001": [3, 4, 5]}
    assert frames(cut("a", REGULAR, 9, whole=True)) == {"a-0000": list(range(7))}


def test_times_come_with_the_frames():
    (clip,) = cut("a", REGULAR, stride=4)
    assert clip == Clip("a", (Moment(0, Fraction(0)), Moment(4, Fraction(2, 5))))


@pytest.mark.parametrize("fps", [0.5, 3, 7.3, 24, 30000 / 1001])
def test_the_frames_that_are_shown_at_the_times_asked_for(fps):
    times = [Fraction(value, 1000) for value in (0, 7, 40, 41, 200, 1000, 1500, 1501, 2600)]
    for step, moment in enumerate(shown_at(times, fps)):
        assert float(moment.seconds) == pytest.approx(step / fps)
        assert times[moment.frame] <= moment.seconds
        assert moment.frame == len(times) - 1 or moment.seconds < times[moment.frame + 1]
    assert len(shown_at(times, fps)) == int(2.6 * fps) + 1


def test_a_moment_survives_as_text():
    moment = Moment(12, Fraction(1001, 30000))
    assert Moment.parse(str(moment)) == moment
