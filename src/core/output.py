"""What is printed never ends the work: letters that an encoding lacks, a pipe that nobody reads."""

import codecs
import errno
import io
import os
import sys
from typing import TextIO

ERRORS = "transliterate"  # the name the error handler is registered by
ASCII = {
    "−": "-", "–": "-", "—": "-", "·": "-", "×": "x", "±": "+/-", "…": "...", "→": "->",
    "≤": "<=", "≥": ">=", "‘": "'", "’": "'", "“": '"', "”": '"',
}  # fmt: skip


def transliterate(error: UnicodeError) -> tuple[str, int]:
    """The error handler of our streams: − becomes -, … becomes ..., what is not in ASCII a ?."""
    letters = error.object[error.start : error.end]
    return "".join(ASCII.get(letter, "?") for letter in letters), error.end


codecs.register_error(ERRORS, transliterate)


class Outlet(io.FileIO):
    """A file descriptor for writing; once its reader is gone, the rest goes to the null device."""

    def write(self, data: bytes) -> int | None:
        """Write `data`; the descriptor itself is redirected, for child processes share it."""
        try:
            return super().write(data)
        except OSError as error:
            if error.errno not in (errno.EPIPE, errno.EIO):  # of a pipe, of a terminal
                raise
            with open(os.devnull, "wb") as nowhere:
                os.dup2(nowhere.fileno(), self.fileno())
            return len(data)


def _stream_to(descriptor: int, encoding: str, closefd: bool) -> TextIO:
    """A text stream to a file descriptor, flushed at the end of each line."""
    outlet = io.BufferedWriter(Outlet(descriptor, "w", closefd=closefd))
    return io.TextIOWrapper(outlet, encoding, ERRORS, line_buffering=True)


def protect(stream: TextIO | None) -> TextIO:
    """Standard output or standard error as a stream that no letter and no reader can break.

    One without a file descriptor, as in a notebook, is returned as it is.
    """
    if stream is None:  # closed by who started this: 2>&-
        return open(os.devnull, "w", encoding="utf-8")
    if not isinstance(stream, io.TextIOWrapper):
        return stream
    try:
        descriptor = stream.fileno()
    except io.UnsupportedOperation:
        return stream
    if os.name == "nt" and stream.isatty():  # a Windows console is not written to as a file
        stream.reconfigure(errors=ERRORS)
        return stream
    return _stream_to(descriptor, stream.encoding, closefd=False)


def terminal() -> TextIO:
    """Where the user who started this looks: stderr, even beneath a notebook's capture of it."""
    beneath = getattr(sys.stderr, "_original_stdstream_copy", None)
    if beneath is None:
        return sys.stderr
    return _stream_to(os.dup(beneath), sys.__stderr__.encoding, closefd=True)
