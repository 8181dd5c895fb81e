"""The list of inputs: what goes in comes out, and the first list is the one that counts."""

import pytest

from decinv.runs import Input, InputList


def test_any_name_survives(tmp_path):
    names = ["a.png", "new\nline", 'quo"te', "猫/é.png", "sur\udcffrogate", "back\\slash", " ", "tab\t", "\r"]
    parts = [None, 3, "k"] * 3
    items = [Input(number, name, f"/photos/{name}", parts[number]) for number, name in enumerate(names)]
    made = InputList.create(tmp_path / "run" / "inputs.jsonl", lambda: items)
    assert list(made) == items
    assert len(made) == len(items)
    assert items[3] in made
    assert list(InputList(tmp_path / "run" / "inputs.jsonl")) == items


def test_the_first_list_counts(tmp_path):
    path = tmp_path / "inputs.jsonl"
    InputList.create(path, lambda: [Input(0, "a")])
    later = InputList.create(path, lambda: [Input(0, "b"), Input(1, "c")])
    assert list(later) == [Input(0, "a")]
    assert [entry.name for entry in tmp_path.iterdir()] == ["inputs.jsonl"]


def test_no_inputs(tmp_path):
    assert len(InputList.create(tmp_path / "inputs.jsonl", lambda: ())) == 0


def test_a_broken_list_is_named_with_its_line(tmp_path):
    path = tmp_path / "inputs.jsonl"
    InputList.create(path, lambda: [Input(0, "a"), Input(1, "b")])
    path.write_text(path.read_text()[:-4] + "\n")
    with pytest.raises(ValueError, match="but line 2 is broken"):
        list(InputList(path))
