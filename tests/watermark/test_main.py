import pytest

from decinv.watermark import Pattern, ShadingKey, TreeRingKey
from decinv.watermark.__main__ import main


def test_keys_are_made_by_one_command(tmp_path, capsys):
    path = tmp_path / "rings.safetensors"
    options = ["--shape=[4,16,16]", "--channel=1", "--radius=4", "--pattern=RANDOM", "--seed=3"]
    assert main(["rings", f"--out={path}", *options]) == 0
    key = TreeRingKey.load(path)
    assert key.fingerprint == TreeRingKey.make((4, 16, 16), 1, 4, Pattern.RANDOM, 3).fingerprint
    assert key.fingerprint in capsys.readouterr().out
    assert main(["shading", f"--out={tmp_path / 'shading.safetensors'}", "--shape=[4,8,8]", "--bits=16"]) == 0
    assert ShadingKey.load(tmp_path / "shading.safetensors").bits == 16


@pytest.mark.parametrize(
    ("option", "message"), [("--channel=4", "`channel`"), ("--radius=-1", "`radius`"), ("--seed=-1", "`seed`")]
)
def test_bad_options_are_named(tmp_path, capsys, option, message):
    assert main(["rings", f"--out={tmp_path / 'key'}", "--shape=[4,16,16]", option]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "key").exists()


def test_keys_are_not_overwritten(tmp_path, capsys):
    words = ["shading", f"--out={tmp_path / 'key'}", "--shape=[4,8,8]", "--bits=16"]
    assert main(words) == 0
    assert main(words) == 2
    assert "Expected a fresh file" in capsys.readouterr().err


@pytest.mark.parametrize("shape", ["[-4,-10,12]", "[0,10,12]", "[4,10,-12]"])
@pytest.mark.parametrize("kind", ["rings", "shading"])
def test_impossible_shapes_are_refused(tmp_path, capsys, kind, shape):
    assert main([kind, f"--out={tmp_path / 'key'}", f"--shape={shape}"]) == 2
    assert "Expected `shape` to be three numbers (C, H, W) of at least 1, but got" in capsys.readouterr().err
    assert not (tmp_path / "key").exists()


@pytest.mark.parametrize("kind", ["rings", "shading"])
def test_files_that_cannot_be_written_are_one_sentence(tmp_path, capsys, kind):
    (tmp_path / "file").write_text("")
    for out in (tmp_path / "file" / "key", tmp_path / ("long" * 100)):
        assert main([kind, f"--out={out}", "--shape=[4,16,16]"]) == 2
        assert capsys.readouterr().err.startswith(f"decinv.watermark: error: Expected to write the key to {out}, but got: ")
