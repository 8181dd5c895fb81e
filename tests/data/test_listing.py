"""What each kind of root lists, and under which names."""

import csv
import os
from pathlib import Path

import pytest

from decinv.data.listing import list_images
from decinv.data.shipped import SAMPLES
from decinv.runs import Input


@pytest.fixture
def tree(tmp_path):
    names = ["b.png", "a.JPG", "sub/c.webp", "sub/deep/d.TIFF", "sub/e.jpeg", "f.tif", "g.bmp", "x.txt", "x.gif", "noext"]
    hidden = [".h.png", ".cache/i.png", "sub/.git/j.png"]
    for name in names + hidden:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "folder.png" / "k.png").touch()
    return tmp_path


def names(root):
    return [entry.name for entry in list_images(str(root))]


def test_directory(tree):
    expected = ["a.JPG", "b.png", "f.tif", "folder.png/k.png", "g.bmp", "sub/c.webp", "sub/deep/d.TIFF", "sub/e.jpeg"]
    entries = list_images(str(tree))
    assert [entry.name for entry in entries] == expected
    assert [entry.path for entry in entries] == [str(tree / name) for name in expected]
    assert [entry.number for entry in entries] == list(range(len(entries)))


def test_directory_below_a_hidden_one(tree):
    assert names(tree / ".cache") == ["i.png"]


def test_dangling_link_is_listed(tmp_path):
    (tmp_path / "gone.png").symlink_to(tmp_path / "nowhere.png")
    assert names(tmp_path) == ["gone.png"]


def test_folder_that_cannot_be_listed_is_told(tree, monkeypatch):
    scandir = os.scandir

    def refuse(path):
        if Path(path).name == "deep":
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.warns(UserWarning, match=r"sub/deep', which cannot be listed: Permission denied"):
        assert "sub/c.webp" in names(tree)


def test_one_file(tree):
    (entry,) = list_images(str(tree / "sub" / "c.webp"))
    assert entry == Input(0, "c.webp", str(tree / "sub" / "c.webp"))


def test_glob(tree):
    assert names(tree / "**" / "*.png") == ["b.png", "folder.png/k.png"]
    assert names(tree / "sub" / "*") == ["c.webp", "e.jpeg"]
    assert names(tree / "s*" / "?.webp") == ["sub/c.webp"]
    with pytest.raises(FileNotFoundError, match="found none"):
        list_images(str(tree / "*.nothing"))


def test_a_glob_goes_through_no_link_to_a_directory(tree):
    """Two links to a directory above would make a tree without end of the same images."""
    (tree / "sub" / "up").symlink_to(tree)
    (tree / "sub" / "again").symlink_to(tree)
    assert names(tree / "**" / "*.webp") == ["sub/c.webp"]
    assert names(tree / "sub" / "up" / "*.png") == ["b.png"]
    assert names(tree / "*" / "**") == ["folder.png/k.png", "sub/c.webp", "sub/deep/d.TIFF", "sub/e.jpeg"]
    assert names(tree / "sub" / "**.webp") == ["c.webp"]
    assert names(tree / "**" / ".h.png") == [".h.png"]


def test_no_root_is_not_the_working_directory(tree, monkeypatch):
    monkeypatch.chdir(tree)
    with pytest.raises(FileNotFoundError, match="at '', but found none"):
        list_images("")


def test_names_with_wildcards_that_exist(tmp_path):
    (tmp_path / "photos[1]").mkdir()
    (tmp_path / "photos[1]" / "a.png").touch()
    assert names(tmp_path / "photos[1]") == ["a.png"]


def test_relative_roots(tree, monkeypatch):
    monkeypatch.chdir(tree)
    assert names("sub") == ["c.webp", "deep/d.TIFF", "e.jpeg"]
    assert names("*.png") == ["b.png"]
    monkeypatch.setenv("HOME", str(tree))
    assert names("~/sub")[0] == "c.webp"


def test_text_manifest(tree):
    manifest = tree / "sub" / "list.txt"
    manifest.write_text(
        f"# mine\n\n  c.webp  \n./deep/d.TIFF\n../b.png\nmissing.png\n{tree}/sub/e.jpeg\n", encoding="utf-8-sig"
    )
    outside = (tree / "b.png").relative_to("/").as_posix()
    entries = list_images(str(manifest))
    assert [entry.name for entry in entries] == ["c.webp", "deep/d.TIFF", outside, "missing.png", "e.jpeg"]
    assert [entry.path for entry in entries][2:4] == [str(tree / "b.png"), str(tree / "sub" / "missing.png")]


def test_a_table_with_blanks_beside_its_commas(tree):
    table = tree / "blanks.csv"
    table.write_text("path, name\nb.png, first\n ,nothing\n,\n  sub/c.webp , \n")
    assert [(entry.name, entry.path) for entry in list_images(str(table))] == [
        ("first", str(tree / "b.png")),
        ("sub/c.webp", str(tree / "sub" / "c.webp")),
    ]


def test_a_manifest_names_files_whatever_their_characters(tree):
    odd = ["new\nline.png", "carriage\rreturn.png", "form\x0cfeed.png", "line\u2028separator.png", 'quote".png']
    for name in odd:
        (tree / name).write_bytes((tree / "b.png").read_bytes())
    table = tree / "odd.csv"
    with table.open("w", newline="") as file:
        csv.writer(file).writerows([["path"], *([name] for name in odd)])
    assert [entry.path for entry in list_images(str(table))] == [str(tree / name) for name in odd]
    text = tree / "odd.txt"
    text.write_text("\r\n".join(odd[2:]), newline="")
    assert [entry.path for entry in list_images(str(text))] == [str(tree / name) for name in odd[2:]]


def test_a_table_that_is_none_gets_one_sentence(tree):
    (tree / "long.csv").write_text("path\n" + "x" * (csv.field_size_limit() + 1))
    with pytest.raises(ValueError, match=r"table of CSV in .*long\.csv', but got after line 1: field larger than field limit"):
        list_images(str(tree / "long.csv"))


def test_csv_manifest(tree):
    manifest = tree / "list.CSV"
    manifest.write_text('label,path,name\n1,b.png,first\n2,"sub/c.webp",\n3,,\n4,b.png,again/x\n')
    assert [(e.name, e.path) for e in list_images(str(manifest))] == [
        ("first", str(tree / "b.png")),
        ("sub/c.webp", str(tree / "sub" / "c.webp")),
        ("again/x", str(tree / "b.png")),
    ]
    manifest.write_text("path\nb.png\n")
    assert names(manifest) == ["b.png"]


def test_csv_with_prompts(tree):
    manifest = tree / "list.csv"
    manifest.write_text('path,name,prompt\nb.png,,"a cat, asleep"\nsub/c.webp,,\nb.png,other, a dog\n')
    assert [(e.name, e.prompt) for e in list_images(str(manifest))] == [
        ("b.png", "a cat, asleep"),
        ("sub/c.webp", ""),
        ("other", "a dog"),
    ]
    assert {e.prompt for e in list_images(str(tree))} == {None}


def test_two_prompts_of_one_name_are_refused(tree):
    manifest = tree / "list.csv"
    manifest.write_text("path,prompt\nb.png,a cat\nb.png,a dog\n")
    with pytest.raises(ValueError, match=r"one prompt of each image .* 'b.png' has 'a cat' and 'a dog'; give each its own"):
        list_images(str(manifest))


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("path,prompt\nb.png,a cat, asleep\n", r"2 cells in line 2 of .* but got \[' ?asleep'\] behind them; put cells"),
        ('path,name\nb.png,"x\nsub/c.webp,y\n', "after line 1: unexpected end of data; mend it there"),
        ("path,path\nb.png,sub/c.webp\n", "one column 'path'"),
    ],
)
def test_a_table_that_would_be_read_wrong_is_refused(tree, content, sentence):
    (tree / "list.csv").write_text(content)
    with pytest.raises(ValueError, match=sentence):
        list_images(str(tree / "list.csv"))


def test_csv_without_a_path(tree):
    (tree / "list.csv").write_text("file,name\nb.png,x\n")
    with pytest.raises(ValueError, match=r"column 'path' .* \['file', 'name'\]"):
        list_images(str(tree / "list.csv"))


def test_the_same_path_twice_is_kept_once(tree):
    (tree / "list.txt").write_text("b.png\na.JPG\n./sub/../b.png\n")
    with pytest.warns(UserWarning, match=r"'b.png' once"):
        assert names(tree / "list.txt") == ["b.png", "a.JPG"]


def test_one_name_for_two_images(tree):
    (tree / "list.csv").write_text("path,name\nb.png,x\na.JPG,x\n")
    with pytest.raises(ValueError, match=r"unique names .* 'x' is the name of .*b\.png and .*a\.JPG"):
        list_images(str(tree / "list.csv"))


@pytest.mark.parametrize("name", ["/etc/x", "../x", "a/../../x", "."])
def test_names_that_would_leave_the_output(tree, name):
    (tree / "list.csv").write_text(f"path,name\nb.png,{name}\n")
    with pytest.raises(ValueError, match="relative paths without"):
        list_images(str(tree / "list.csv"))


def test_a_manifest_that_is_no_text(tree):
    (tree / "list.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match="save it as UTF-8"):
        list_images(str(tree / "list.txt"))


@pytest.mark.parametrize("root", ["~nobody-has-this-name/photos", "x" * 5000, "a\0b"])
def test_a_root_that_can_be_no_path(root):
    with pytest.raises(FileNotFoundError, match="there is nothing at"):
        list_images(root)


@pytest.mark.parametrize("content", ["", "# nothing\n\n"])
def test_an_empty_manifest(tree, content):
    (tree / "list.txt").write_text(content)
    with pytest.raises(FileNotFoundError, match="found none"):
        list_images(str(tree / "list.txt"))


def test_nothing_there(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is nothing at"):
        list_images(str(tmp_path / "missing"))
    with pytest.raises(FileNotFoundError, match=r"Expected images \(.bmp .jpeg .jpg .png .tif .tiff .webp\) at .* found none"):
        list_images(str(tmp_path))


def test_a_name_that_is_no_utf8(tmp_path):
    os.close(os.open(os.fsencode(tmp_path) + b"/\xff.png", os.O_CREAT))
    (entry,) = list_images(str(tmp_path))
    assert entry.name == "\\udcff.png"
    assert os.path.exists(entry.path)


def test_samples(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert {os.path.dirname(entry.path) for entry in list_images("samples")} == {str(SAMPLES)}
    assert len(list_images("samples")) == 6
    (tmp_path / "samples").mkdir()
    (tmp_path / "samples" / "own.png").touch()
    assert names("samples") == ["own.png"]


def test_a_name_that_files_of_latents_need_is_refused(tree):
    (tree / "list.csv").write_text(f"path,name\n{list_images(str(tree))[0].path},__metadata__\n")
    with pytest.raises(ValueError, match="other than '__metadata__'"):
        list_images(str(tree / "list.csv"))
