"""Whether a configuration is that of the run which is there."""

import pytest
import yaml

from decinv.runs.configuration import differences, settle

CONFIG = {
    "out": "a",
    "trainer": {"devices": 1, "callbacks": [{"class_path": "Memory"}], "strategy": "auto"},
    "model": {"init_args": {"max_iters": 50}},
    "data": {"init_args": {"shard": "0/4", "root": "x"}},
}


def test_the_first_start_writes_and_later_ones_compare(tmp_path):
    path = tmp_path / "new" / "config.yaml"
    assert settle(path, yaml.safe_dump(CONFIG))
    written = path.read_bytes()
    other = CONFIG | {"out": "b", "data": {"init_args": {"shard": "3/4", "root": "x"}}}
    assert not settle(path, yaml.safe_dump(other))
    with pytest.raises(ValueError, match=r"differ: model.init_args.max_iters was 50 and is 5; choose another --out"):
        settle(path, yaml.safe_dump(CONFIG | {"model": {"init_args": {"max_iters": 5}}}))
    assert path.read_bytes() == written
    path.write_text("{broken")
    with pytest.raises(ValueError, match="it is broken"):
        settle(path, yaml.safe_dump(CONFIG))


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
        "model.class_path was 'nothing' and is 'X'",
        "trainer.callbacks.1.class_path was 'nothing' and is 'Summary'",
    ]
