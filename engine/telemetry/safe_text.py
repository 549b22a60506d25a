"""Text from outside, made safe for a terminal: the one place where that is done.

Rule 1: names, messages, log lines and paths come from tasks, files and exceptions. Nothing in
        them may move the cursor, set a title, reach the clipboard or turn text around.
Rule 2: whole control sequences go first, so that their innards do not show; then every control
        character that is left. What remains cannot form a new sequence, since none is left to
        open one.
Rule 3: the result is a plain `str` that any UTF-8 stream takes.
"""

from __future__ import annotations

import re

# A sequence without its end is not matched: it would swallow the text behind it. Its opening
# character goes with the single ones below. In order: strings (OSC, DCS, …), CSI, and the short
# ones, such as RIS. No string holds the opening of another, so that the search stays linear.
_SEQUENCE = re.compile(
    r"(?:\x1b[\]PX^_]|[\x90\x98\x9d-\x9f])[^\x07\x1b\x90\x98\x9c-\x9f]*(?:\x07|\x1b\\|\x9c)"
    r"|(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"
    r"|\x1b[ -/]*[0-~]"
)
#: C0 (not tab, newline), DEL, C1, marks that turn the direction of text, line and paragraph
#: separators, the byte order mark, and lone surrogates, which cannot be encoded.
_SINGLE = (
    r"\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ufff9-\ufffb"
    r"\ud800-\udfff"
)
_UNSAFE = re.compile(f"[{_SINGLE}]")
_BREAKS = re.compile(r"[\t\n]+")


def safe(text: str) -> str:
    """`text` without anything that drives a terminal; newlines and tabs stay."""
    if _UNSAFE.search(text) is None:
        return text
    return _UNSAFE.sub("", _SEQUENCE.sub("", text.replace("\r\n", "\n")))


def safe_line(text: str, limit: int = 0) -> str:
    """The same in one line; with a `limit`, of at most so many characters, cut with an ellipsis."""
    if limit and len(text) > 4 * limit + 1000:
        text = text[: 4 * limit + 1000]  # enough of it, whatever is taken out of a giant
    line = _BREAKS.sub(" ", safe(text)).strip()
    if limit and len(line) > limit:
        return line[: limit - 1] + "…"
    return line
