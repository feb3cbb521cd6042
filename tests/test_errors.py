import pickle

from histo_simclr.errors import InputError


def test_input_error_survives_the_way_from_a_worker():
    error = InputError("is bad", where="file", way_out="mend it")
    found = pickle.loads(pickle.dumps(error))
    assert str(found) == str(error) == "file: is bad; mend it"
    assert (found.what, found.where, found.way_out) == ("is bad", "file", "mend it")
