from decinv.status import Status


def test_every_status_has_a_sentence() -> None:
    sentences = [status.sentence for status in Status]
    assert len(set(sentences)) == len(Status)
    for sentence in sentences:
        assert sentence[0] in "`" or sentence[0].isupper()
        assert sentence.endswith(".")
        assert "\n" not in sentence


def test_ok_is_what_iterating_did_not_spoil() -> None:
    assert [status.name for status in Status if status.ok] == ["CONVERGED", "STALLED", "MAX_ITERS"]
