import pickle

from histo_simclr.errors import InputError


def test_input_error_survives_the_way_from_a_worker():
    error = InputError("is bad", where="file", way_out="mend it")
    found = pickle.loads(pickle.dumps(error))
    assert str(found) == str(error) == "file: is bad; mend it"
    assert (found.what, found.where, found.way_out) == ("is bad", "file", "mend it")


def test_what_does_not_print_is_escaped():
    error = InputError("odd\x1b[2J", where="a\nb\udc80.csv", way_out="rename it to µ")
    assert str(error) == r"a\nb\udc80.csv: odd\x1b[2J; rename it to µ"


def test_what_is_listed_stands_a_line_each_below():
    error = InputError("2 are gone", where="f", way_out="get them:", listed=["a\nb", "c"])
    assert str(error) == "f: 2 are gone; get them:\n  a\\nb\n  c"
    assert str(pickle.loads(pickle.dumps(error))) == str(error)
