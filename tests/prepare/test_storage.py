"""Paths of this machine and of a store: Google's, emulated on this machine, through gcsfs."""

import os
from pathlib import Path

import pytest

from histo_simclr.errors import InputError
from histo_simclr.prepare import sources, storage
from histo_simclr.prepare.item import Item


@pytest.fixture(params=["disk", "store"])
def folder(request, tmp_path):
    """A folder that is not there yet."""
    if request.param == "disk":
        return str(tmp_path / "new")
    return f"{request.getfixturevalue('bucket')}/{tmp_path.name}"


def _break_off(path):
    with storage.new_file(path) as file:
        file.write(b"4")
        raise KeyboardInterrupt


def put(path, data=b"x"):
    with storage.new_file(path) as file:
        file.write(data)


def test_a_file_appears_whole_or_not_at_all(folder):
    storage.make_folder(folder)
    path = storage.join(folder, "a")
    with storage.new_file(path) as file:
        file.write(b"12")
        assert not storage.exists(path)
        file.write(b"3")
    assert storage.exists(path)
    with storage.open_file(path) as file:
        assert file.read() == b"123"
    with pytest.raises(KeyboardInterrupt):
        _break_off(storage.join(folder, "b"))
    assert storage.listing(folder) == {"a"}


def test_a_folder_that_is_not_there_is_empty_and_can_be_removed(folder):
    assert storage.listing(folder) == set()
    storage.remove(folder)
    storage.make_folder(folder)
    put(storage.join(folder, "a"))
    storage.remove(folder)
    assert storage.listing(folder) == set()


def test_state_changes_when_the_file_does(folder):
    storage.make_folder(folder)
    path = storage.join(folder, "a")
    assert storage.state(path) == ""
    put(path, b"1")
    first = storage.state(path)
    assert first == storage.state(path) != ""
    put(path, b"22")
    storage.listing(folder)  # a store remembers what it has listed
    assert storage.state(path) != first


def test_a_store_is_walked_in_the_order_of_a_disk(bucket, tmp_path):
    names = [
        "b.svs",
        "a-1.svs",
        "a/2.SVS",
        "a/1.svs",
        "a/c/0.svs",
        "notes.txt",
        ".x/0.svs",
        "ä.svs",
    ]
    for name in names:
        put(f"{bucket}/{tmp_path.name}/{name}")
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    walks = [
        sources.open_source(
            source, defaults=Item("", ""), pattern="", labels="", extensions=(".svs",)
        )
        for source in (str(tmp_path), f"{bucket}/{tmp_path.name}")
    ]
    disk, store = ([item.name for item in walk()] for walk in walks)
    assert disk == store == ["a/1.svs", "a/2.SVS", "a/c/0.svs", "a-1.svs", "b.svs", "ä.svs"]
    item = next(walks[1]())
    assert item.data == f"{bucket}/{tmp_path.name}/a/1.svs"


def test_a_slide_comes_with_the_files_that_belong_to_it(bucket, tmp_path):
    at = f"{bucket}/{tmp_path.name}"
    for name in (
        "s.mrxs",
        "s/Slidedat.ini",
        "s/Data0.dat",
        "t.mrxs",
        "d/1.dcm",
        "d/2.dcm",
        "x.svs",
    ):
        put(f"{at}/{name}", name.encode())
    for slide, others in (
        ("s.mrxs", ["s.mrxs", "s/Data0.dat", "s/Slidedat.ini"]),
        ("d/2.dcm", ["1.dcm", "2.dcm"]),
        ("x.svs", ["x.svs"]),
    ):
        with storage.on_disk(f"{at}/{slide}") as path:
            assert Path(path).read_bytes() == slide.encode()
            here = os.path.dirname(path)
            found = [
                os.path.relpath(os.path.join(folder, name), here)
                for folder, _, names in os.walk(here)
                for name in names
            ]
            assert sorted(found) == others
        assert not os.path.exists(here)
    with pytest.raises(FileNotFoundError), storage.on_disk(f"{at}/gone.svs"):
        pass


def test_a_slide_on_this_machine_is_taken_where_it_is(tmp_path):
    with storage.on_disk(str(tmp_path / "a.svs")) as path:
        assert path == str(tmp_path / "a.svs")


def test_a_store_that_cannot_be_used_is_named(monkeypatch):
    with pytest.raises(InputError, match=r"nosuch://a: cannot be opened .* install the package"):
        storage.names("nosuch://a")

    class Forbidden:
        def find(self, folder):
            raise PermissionError("not for you")

    monkeypatch.setattr(storage, "store", lambda path: (Forbidden(), path))
    with pytest.raises(InputError, match=r"gs://a: cannot be listed \(not for you\)"):
        storage.names("gs://a")


def test_state_changes_when_a_file_that_belongs_to_the_slide_does(folder):
    for slide, beside in (("s.mrxs", "s/Data0.dat"), ("d/1.dcm", "d/2.dcm")):
        for name in (slide, beside):
            if not storage.is_remote(folder):
                os.makedirs(os.path.dirname(storage.join(folder, name)), exist_ok=True)
            put(storage.join(folder, name), b"1")
        first = storage.state(storage.join(folder, slide))
        put(storage.join(folder, beside), b"22")
        storage.listing(os.path.dirname(storage.join(folder, beside)))
        assert storage.state(storage.join(folder, slide)) != first


@pytest.mark.parametrize("name", ["a::b.svs", "a#1?.svs", "[a]*.svs"])
def test_names_that_mean_something_in_a_url_are_names_here(tmp_path, name):
    path = str(tmp_path / name)
    put(path, b"1")
    assert storage.exists(path)
    assert storage.state(path) != ""
    with storage.on_disk(path) as found:
        assert found == path


def test_flags_for_this_machine_take_no_store():
    with pytest.raises(InputError, match=r"gs://a/b: is in a store; give a path on this machine"):
        storage.local_path("gs://a/b")
