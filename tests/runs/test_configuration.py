"""Whether a configuration is that of the run which is there."""

import pytest
import yaml

from decinv.runs.configuration import check, differences

CONFIG = {
    "out": "a",
    "trainer": {"devices": 1, "callbacks": [{"class_path": "Memory"}], "strategy": "auto"},
    "model": {"init_args": {"max_iters": 50}},
    "data": {"init_args": {"shard": "0/4", "root": "x"}},
}


def test_a_start_compares_with_the_file(tmp_path):
    path = tmp_path / "config.yaml"
    with pytest.raises(FileNotFoundError, match=r"but config.yaml is missing; choose another --out"):
        check(path, yaml.safe_dump(CONFIG))
    path.write_text(yaml.safe_dump(CONFIG))
    check(path, yaml.safe_dump(CONFIG | {"out": "b", "data": {"init_args": {"shard": "3/4", "root": "x"}}}))
    with pytest.raises(ValueError, match=r"differ: model.init_args.max_iters was 50 and is 5; choose another --out"):
        check(path, yaml.safe_dump(CONFIG | {"model": {"init_args": {"max_iters": 5}}}))
    path.write_text("{broken")
    with pytest.raises(ValueError, match="it is broken"):
        check(path, yaml.safe_dump(CONFIG))


def test_every_other_key_counts():
    assert differences(CONFIG, CONFIG) == []
    changed = {
        "trainer": {
            "devices": 8,
            "callbacks": [{"class_path": "Memory"}, {"class_path": "Summary"}],
            "strategy": "independent",
        },
        "model": {"init_args": {"max_iters": 50}, "class_path": "X"},
        "data": {"init_args": {"shard": "1/4", "root": "y"}},
    }
    assert differences(CONFIG, changed) == [
        "data.init_args.root was 'x' and is 'y'",
        "model.class_path was not there and is 'X'",
        "trainer.callbacks.1.class_path was not there and is 'Summary'",
    ]


def test_a_path_may_be_written_in_another_way(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for root in ("photos/", "./photos", str(tmp_path / "photos")):
        assert differences({"root": "photos"}, {"root": root}) == []
    assert differences({"root": "photos"}, {"root": "/photos"}) == ["root was 'photos' and is '/photos'"]


def test_options_of_another_class_are_not_listed():
    old = {"codec": {"class_path": "A", "init_args": {"x": 1, "y": 2}}, "z": 1}
    new = {"codec": {"class_path": "B", "init_args": {"w": 1}}, "z": 1}
    assert differences(old, new) == ["codec.class_path was 'A' and is 'B'"]
