"""What captured text goes through on its way to a log: decoding, and a bound on a line's length.

Rule 1: a piece of output may end anywhere, in the middle of a line or of a character; what
        is unfinished is carried over, and never holds more than one line's limit.
Rule 2: what is left out is marked where it is left out.
"""

from __future__ import annotations

from codecs import utf_8_decode

#: Characters kept of one line. A task that writes a gigabyte without a newline costs this much.
LINE_LIMIT = 65_536

CUT = f"… [line cut at {LINE_LIMIT:,} characters]"


def decode(data: bytes) -> tuple[str, bytes]:
    """The text of `data`, and the bytes of a character that is not complete yet (at most 3).

    What is not UTF-8 becomes `\\xNN`.
    """
    text, consumed = utf_8_decode(data, "backslashreplace", False)
    return text, data[consumed:]


def unfinished(text: str, used: int) -> int:
    """How long the line is that `text` ends in, if `used` characters of it stood before.

    A carriage return starts the line over: progress bars redraw it thousands of times.
    """
    last = max(text.rfind("\n"), text.rfind("\r"))
    return used + len(text) if last < 0 else len(text) - last - 1


def cut(text: str, used: int = 0) -> tuple[str, int]:
    """`text` with over-long lines cut and marked, and the length of the line it ends in.

    `used`: characters of the first line that came before. A length above LINE_LIMIT says that
    the line was marked already: its rest is dropped without a word.
    """
    if used + len(text) <= LINE_LIMIT:
        return text, unfinished(text, used)
    kept: list[str] = []
    start, size = 0, len(text)
    while start < size:
        newline = text.find("\n", start)
        end = size if newline < 0 else newline
        room = LINE_LIMIT - used
        if end - start <= room:
            kept.append(text[start:end])
            used += end - start
        elif room >= 0:
            kept += (text[start : start + room], CUT)
            used = LINE_LIMIT + 1
        if newline >= 0:
            kept.append("\n")
            used = 0
        start = end + 1
    return "".join(kept), used
