import os

from histo_simclr.embed import slide_ends
from histo_simclr.embed.shares import Share
from histo_simclr.embed.slide_ends import End, Ends

GOOD = End("b.svs", "b", "ok", patches=3, seconds=1.5, mpp_x=0.25, tissue=0.125, settings="s")
BAD = End("a.svs", "a", "failed", 'says "no",\nand more, ä')


def test_the_table_is_read_as_it_was_written(tmp_path):
    ends = Ends(slide_ends.file_of(tmp_path, Share(1, 1)), [])
    ends.add(GOOD)
    ends.add(BAD)
    # What a kill leaves: in the order in which they ended.
    assert list(slide_ends.earlier(tmp_path).values()) == [GOOD, BAD]
    ends.close()
    assert list(slide_ends.earlier(tmp_path).values()) == [BAD, GOOD]
    assert [path.name for path in tmp_path.iterdir()] == ["embed.csv"]


def test_a_row_that_a_kill_has_torn_is_left_out(tmp_path):
    ends = Ends(tmp_path / "embed.csv", [GOOD])
    ends.add(BAD)
    ends.close()
    text = (tmp_path / "embed.csv").read_text()
    (tmp_path / "embed.csv").write_text(text[: text.rindex("ok") + 4])
    assert list(slide_ends.earlier(tmp_path).values()) == [BAD]


def test_the_newest_table_counts(tmp_path):
    for number, end in enumerate((BAD, BAD._replace(status="ok", reason=""))):
        path = slide_ends.file_of(tmp_path, Share(number + 1, 2))
        Ends(path, [end]).close()
        os.utime(path, (1000 - number, 1000 - number))
    assert slide_ends.earlier(tmp_path) == {"a.svs": BAD}
