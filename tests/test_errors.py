"""The exception tree: what a message tells, and what crosses to other processes and to the shell."""

import pickle

from enfold import errors
from enfold.errors import BitstreamError, FingerprintError, LimitError, MissingWeightsError, UsageError


def test_messages_say_what_where_and_what_to_do():
    assert str(BitstreamError("bad", offset=3, end=9, section="section 1")) == "section 1, bytes 3..9: bad"
    assert str(BitstreamError("bad", offset=3)) == "byte 3: bad" and str(BitstreamError("bad")) == "bad"
    for word in ("max_pixels", "1,000", "999", "Limits(max_pixels=...)"):
        assert word in str(LimitError("max_pixels", 1000, 999))
    assert "'walloc'" in str(MissingWeightsError("walloc", b"\1\2\3\4")) and "01020304" in str(
        MissingWeightsError("walloc", b"\1\2\3\4")
    )
    both = str(FingerprintError("walloc", b"\1\2\3\4", b"\5\6\7\x08"))
    assert "01020304" in both and "05060708" in both


def test_errors_cross_processes():
    for error in (BitstreamError("bad", offset=3, end=9, section="section 1"), LimitError("max_pixels", 9, 3),
                  MissingWeightsError("a", b"abcd"), FingerprintError("a", b"abcd", b"efgh"), UsageError("no")):
        again = pickle.loads(pickle.dumps(error))
        assert str(again) == str(error) and vars(again) == vars(error) and type(again) is type(error)


def test_exit_codes_are_part_of_the_interface():
    codes = {"EnfoldError": 1, "UsageError": 2, "BitstreamError": 3, "UnsupportedVersionError": 4,
             "MissingWeightsError": 5, "FingerprintError": 5, "LimitError": 6, "MediaError": 7}
    assert {name: getattr(errors, name).exit_code for name in codes} == codes
    assert issubclass(UsageError, ValueError)
