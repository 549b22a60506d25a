"""The log pane: what a task run printed, or several, or all of them, as it comes.

Rule 1: it shows a `LogBook`, which a `LogSource` fills from beside the screen's loop; a frame
        takes what was read, and paints what is in sight.
Rule 2: it follows the end until somebody moves up; then nothing moves, and nothing that is
        being read is dropped, until they go to the end again.
Rule 3: the app calls `frame`, and only while the pane is in sight.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Sequence
from concurrent.futures import Executor
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from rich.cells import cell_len
from rich.segment import Segment
from rich.style import Style
from textual import events, on
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical
from textual.message import Message
from textual.strip import Strip
from textual.widgets import Input

from flowforge_tui.keys import LOG_KEYS, MOVE_KEYS, bindings
from flowforge_tui.logbook import (
    THRESHOLD_WORDS,
    THRESHOLDS,
    LogBook,
    Row,
    letter,
    matcher,
    try_words,
)
from flowforge_tui.logsource import LogSource, Wanted, as_text, newest, save, whole
from flowforge_tui.look import ACCENT, BAD, CURSOR, DIM, FAINT, GOOD, MATCH, PLAIN, WARN, Look
from flowforge_tui.strips import Line, fit
from flowforge_tui.widgets.heading import Heading, Part, title
from flowforge_tui.widgets.lines import LineView

if TYPE_CHECKING:
    from engine.front import LogLine

#: Cells of the column of names at most, where several tasks are shown, and how many of the
#: names that come are measured for it.
_NAMES = 24
_NAMES_SEEN = 200

#: Cells that ← and → move by.
_STEP = 16

#: Cells of text a row has at least, wrapped or not.
_NARROWEST = 10

_FOUND = MATCH + CURSOR
_ERROR_TEXT = Style(color="#ff6b3d")
_LETTERS = {"C": BAD, "E": BAD, "W": WARN, "I": DIM, "D": FAINT}
_TEXTS = {"C": BAD, "E": _ERROR_TEXT, "W": PLAIN, "I": PLAIN, "D": DIM}


#: Rows that are looked at for the one under the cursor, when more of a log was read.
_PUSHED = 2_000


def _same(row: Row, other: Row | None) -> bool:
    return other is not None and (row.line, row.start, row.heading) == (
        other.line, other.start, other.heading)


def _no_name(tid: int) -> str:
    return f"#{tid}"


class LogLines(LineView):
    """The rows of a log."""

    BINDINGS: ClassVar[list[BindingType]] = [*bindings(MOVE_KEYS + LOG_KEYS)]

    def __init__(self, look: Look | None = None, **kwargs: Any) -> None:
        super().__init__(look, **kwargs)
        self.book = LogBook()
        self.wanted: Wanted | None = None
        self.name_of: Callable[[int], str] = _no_name
        self.following = True
        self.wrapped = False
        self.times = True
        self.shift = 0
        """Cells of text to the left of what is in sight, where lines are not wrapped."""
        self.needle = ""
        self.missed = False
        """True if the last search found nothing."""
        self.said = ""
        """What to say where there are no lines."""
        self.told: Callable[[], None] = lambda: None
        """Called when the heading may have to say something else."""
        self._columns: dict[int, str] = {}
        """Task run → its name, fitted to the column."""
        self._name_width = 0
        self._looks = 0
        """Counts up when every row looks different."""
        self._match = matcher("")

    # -- lines -------------------------------------------------------------------------------

    def count(self) -> int:
        """As in `LineView`."""
        return len(self.book)

    def key(self, index: int) -> Hashable:
        """As in `LineView`."""
        row = self.book.row(index)
        return row.serial, row.start, row.heading, row.line.text, self._looks

    def empty(self) -> str:
        """As in `LineView`."""
        return self.said

    @property
    def shows_cursor(self) -> bool:
        """As in `LineView`."""
        return self.has_focus and not self.following

    def build(self, index: int, width: int) -> Strip:
        """As in `LineView`."""
        row = self.book.row(index)
        if row.heading:
            rule = self.look.marks.rule * 2
            words = try_words(row.line.generation, row.line.attempt)
            return self._over(index, Line().add(f" {rule} {words} {rule}", ACCENT).strip(width))
        head = self._head(row)
        text = self._text(row)
        room = max(0, width - head.used)
        cut = not self.wrapped and text.cell_length > self.shift + room
        if self.shift or cut:
            text = text.crop(self.shift, self.shift + room - cut)
        parts = [head.strip(head.used), text]
        if cut:
            parts.append(Strip([Segment(self.look.marks.more, DIM)], 1))
        return self._over(index, Strip.join(parts).adjust_cell_length(width))

    def _over(self, index: int, strip: Strip) -> Strip:
        """One style on the line under the cursor, its matches apart."""
        if not self.shows_cursor or index != self.cursor:
            return strip
        return Strip([
            Segment(s.text, CURSOR + MATCH if s.style is _FOUND else CURSOR) for s in strip])

    def _head(self, row: Row) -> Line:
        """What stands before the text; blank where a line goes on."""
        line = Line().add(" ")
        goes_on, source = row.start > 0, row.line
        if self.times:
            at = time.strftime("%H:%M:%S", time.localtime(source.time))
            line.add(" " * 9 if goes_on else f"{at} ", FAINT)
        sign = letter(source.level)
        line.add("  " if goes_on else f"{sign} ", _LETTERS[sign])
        if self._many:
            name = self._column(source.tid)
            line.add(" " * len(name) if goes_on else name, ACCENT).add(" ")
        return line

    def _text(self, row: Row) -> Strip:
        text = row.line.text[row.start:row.end]
        style = _TEXTS[letter(row.line.level)]
        if not self.needle:
            return Strip([Segment(text, style)])
        segments, at = [], 0
        for start, end in self._match.spans(row.line.text, row.start, row.end):
            segments += [Segment(text[at:start], style), Segment(text[start:end], _FOUND)]
            at = end
        return Strip([*segments, Segment(text[at:], style)])

    @property
    def _many(self) -> bool:
        return self.wanted is not None and not self.wanted.single

    def _column(self, tid: int) -> str:
        name = self._columns.get(tid)
        if name is None:
            if len(self._columns) > 1_000:
                self._columns.clear()
            name = self._columns[tid] = fit(
                Line().put(self.name_of(tid) if tid >= 0 else "").text, self._name_width,
                more=self.look.marks.more)
        return name

    def _widen(self, lines: Iterable[LogLine]) -> bool:
        """Make the column of names wide enough for lines that came; True if it was not."""
        most, before = min(_NAMES, max(8, self.size.width // 4)), self._name_width
        if self._many and before < most:
            for tid in islice({line.tid for line in lines}, _NAMES_SEEN):
                size = cell_len(Line().put(self.name_of(tid)).text) if tid >= 0 else 0
                self._name_width = min(most, max(self._name_width, size))
        return self._name_width != before

    def text_width(self) -> int:
        """Cells of text that a wrapped row has; 0: lines are not wrapped."""
        if not self.wrapped or not self.size.width:
            return 0
        taken = 3 + 9 * self.times + (self._name_width + 1) * self._many
        return max(_NARROWEST, self.size.width - 1 - taken)  # the scroll bar takes one

    # -- keeping place -------------------------------------------------------------------------

    def lay_out(self, threshold: int | None = None) -> None:
        """Lay the lines out anew, with the cursor on the line that it is on."""
        book = self.book
        least = book.threshold if threshold is None else threshold
        serial, offset = self._serial(self.cursor), self.cursor - self.top
        book.arrange(width=self.text_width(), threshold=least)
        self._looks += 1
        self._columns.clear()
        if self.following or serial < 0:
            self.to_end()
        else:
            self.cursor = max(0, min(book.place_of(serial), len(book) - 1))
            self.scroll_lines_to(self.cursor - offset)
        self.repaint()
        self.told()

    def _serial(self, index: int) -> int:
        return self.book.row(index).serial if 0 <= index < len(self.book) else -1

    def to_end(self) -> None:
        """Put the cursor on the last line and that in sight."""
        self.cursor = max(0, len(self.book) - 1)
        self.scroll_lines_to(len(self.book) - self.rows)

    def take(self, book: LogBook) -> None:
        """Show another log from its end on."""
        self.book = book
        self.following, self.shift, self._name_width = True, 0, 0
        self._widen(book.lines())
        self.lay_out()

    def deepen(self, book: LogBook) -> None:
        """Show more of the same log: what is in sight stays, counted from the end."""
        if self.following:
            self.take(book)
            return
        old, offset = self.book, self.cursor - self.top
        self._widen(book.lines())
        for each in (old, book):
            each.arrange(width=self.text_width(), threshold=old.threshold)
        here = old.row(min(self.cursor, len(old) - 1)) if len(old) else None
        self.book, book.held = book, True
        at = len(book) - (len(old) - self.cursor)
        # Lines that came in between push it up a little.
        self.cursor = next((i for i in range(at, max(-1, at - _PUSHED), -1)
                            if _same(book.row(i), here)), max(0, at))
        self.scroll_lines_to(self.cursor - offset)
        self._looks += 1
        self.repaint()
        self.told()

    def grown(self, lines: Sequence[LogLine]) -> None:
        """Lines came, and old ones may have gone."""
        if self._widen(lines):
            self.lay_out()
        if self.following:
            self.to_end()

    def move_to(self, index: int) -> None:
        """As in `LineView`; a move up ends following."""
        if index < self.cursor:
            self.pause()
        super().move_to(index)
        self.told()

    def scroll_lines_to(self, top: int) -> None:
        """As in `LineView`; a scroll up ends following."""
        if self.following and top < len(self.book) - self.rows and top < self.top:
            self.pause()
        super().scroll_lines_to(top)

    def pause(self) -> None:
        """Follow no more."""
        if self.following and len(self.book):
            self.following, self.book.held = False, True
            self._painted.clear()

    def action_bottom(self) -> None:
        """To the end, and follow."""
        self.following, self.book.held = True, False
        self.to_end()
        self.repaint()
        self.told()
        self.post_message(self.Moved(self))

    def on_resize(self, event: events.Resize) -> None:
        """Another width: wrapped lines break elsewhere."""
        super().on_resize(event)
        self._name_width = 0
        self._widen(self.book.lines())
        self.lay_out()

    def on_focus(self) -> None:
        """The cursor shows."""
        self._painted.clear()

    def on_blur(self) -> None:
        """The cursor hides."""
        self._painted.clear()

    # -- keys ------------------------------------------------------------------------------------

    def action_wrap(self) -> None:
        """Wrap long lines, or cut them."""
        self.wrapped, self.shift = not self.wrapped, 0
        self.lay_out()

    def action_timestamps(self) -> None:
        """Show times, or do not."""
        self.times = not self.times
        self.lay_out()

    def action_level(self) -> None:
        """The next threshold."""
        at = THRESHOLDS.index(self.book.threshold)
        self.lay_out(THRESHOLDS[(at + 1) % len(THRESHOLDS)])

    def action_left(self) -> None:
        """Towards the beginning of long lines."""
        self._shift_by(-_STEP)

    def action_right(self) -> None:
        """Towards the end of long lines."""
        if not self.wrapped:
            self._shift_by(_STEP)

    def _shift_by(self, cells: int) -> None:
        bottom = min(len(self.book), self.top + self.rows)
        longest = max((len(self.book.row(i).line.text) for i in range(self.top, bottom)), default=0)
        self.shift = max(0, min(self.shift + cells, 2 * longest - _NARROWEST))
        self._looks += 1
        self.frame()

    class ThisTry(Message):
        """The try under the cursor alone is wanted, or all again."""

    def action_this_try(self) -> None:
        """One try alone, and all again."""
        self.post_message(self.ThisTry())

    class Search(Message):
        """A search is to be typed."""

    def action_search(self) -> None:
        """Type what to search for."""
        self.post_message(self.Search())

    def search(self, needle: str) -> None:
        """Mark what matches, and go to the last match up from the cursor."""
        self.needle, self._match, self.missed = needle, matcher(needle), False
        self._looks += 1
        if needle:
            self._go(len(self.book) if self.following else self.cursor + 1, -1)
        self.repaint()
        self.told()

    def action_next_match(self) -> None:
        """Down to the next match."""
        self._go(self.cursor, 1)

    def action_previous_match(self) -> None:
        """Up to the next match."""
        self._go(self.cursor, -1)

    def action_end_search(self) -> None:
        """Forget the search."""
        if self.needle:
            self.search("")
        else:
            self.post_message(self.Leave())

    class Leave(Message):
        """Esc, and nothing to end here: the focus may go where it was."""

    def _go(self, start: int, step: int) -> None:
        if not self.needle:
            self.action_search()
            return
        found = self.book.find(self.needle, start, step) if len(self.book) else None
        self.missed = found is None
        if found is not None:
            self.pause()
            self.move_to(found)
        self.told()


class LogPane(Vertical):
    """Heading, rows, and a field to search with."""

    DEFAULT_CSS = """
    LogPane { height: 1fr; width: 1fr; }
    LogPane Input { display: none; height: 1; border: none; padding: 0 1; background: $surface; }
    LogPane Input.-typing { display: block; }
    """

    def __init__(
        self, look: Look | None = None, *, executor: Executor | None = None, **kwargs: Any
    ) -> None:
        """`executor`: where the log is read; else a thread of its own."""
        super().__init__(**kwargs)
        self.look = look if look is not None else Look()
        self.heading = Heading(self.look)
        self.lines = LogLines(self.look)
        self.lines.told = self._tell
        self.field = Input(placeholder="search", compact=True)
        self.field.select_on_focus = False
        self._source = LogSource(executor)
        self._label = ""
        self._asked: Wanted | None = None
        """As `show` was told; the rows may show one try of it."""
        self._stale = False
        """True until something of what is to be shown was read."""
        self._overflow = False
        """Lines wait in the file that there is no room for while somebody reads."""

    def compose(self) -> ComposeResult:
        """As Textual asks for it."""
        yield self.heading
        yield self.lines
        yield self.field

    # -- what the app calls --------------------------------------------------------------------

    def show(
        self,
        directory: Path | None,
        tids: Collection[int] | None,
        names: Callable[[int], str],
        label: str = "",
        attempt: tuple[int, int] | None = None,
    ) -> None:
        """Show the output of a task run, of several, or (`tids` None) of the whole run.

        `directory`: the run's; None if its output is not kept. `names`: task run → name.
        `label`: what it is of; else the task run's name. `attempt`: (generation, number) of
        the only one to show. The same again changes nothing.
        """
        wanted = Wanted(directory, tids, attempt) if directory is not None else None
        self.lines.name_of = names
        label = label or self._label_of(tids, names)
        if wanted is None or wanted != self._asked or label != self._label:
            self._label, self._asked = label, wanted
            self._watch(wanted)

    def _watch(self, wanted: Wanted | None) -> None:
        lines = self.lines
        lines.wanted, self._overflow, self._stale = wanted, False, wanted is not None
        self._source.watch(wanted)
        if wanted is None:
            lines.said = "the output of this run is not kept"
            self._clear()

    @staticmethod
    def _label_of(tids: Collection[int] | None, names: Callable[[int], str]) -> str:
        if tids is None:
            return "whole run"
        one = next(iter(tids), -1)
        return names(one) if len(tids) == 1 else f"{len(tids):,} tasks"

    def rung_by(self, ring: Callable[[], None]) -> None:
        """`ring` is called, from any thread, when there are lines to be taken."""
        self._source.ring = ring

    @property
    def behind(self) -> bool:
        """True until all lines of a run that has ended are there, or there is no room for them."""
        return self._source.behind and not (self._overflow and self.lines.book.held)

    def frame(self, *, live: bool = True, now: float | None = None) -> None:
        """Take what was read, and paint what is new. `live`: more may come."""
        lines = self.lines
        if not (self._overflow and lines.book.held):
            self._take(live, time.monotonic() if now is None else now)
        self._tell()
        lines.frame()

    def _take(self, live: bool, now: float) -> None:
        lines, book = self.lines, self.lines.book
        if self._overflow:  # they went to the end: from its newest lines on
            self._watch(lines.wanted)
        try:
            news = self._source.take(
                now, live=live, width=lines.text_width(), threshold=book.threshold)
        except OSError as error:
            self._clear()
            lines.said = f"the log cannot be read: {error.strerror or type(error).__name__}"
            lines.repaint()
            return
        if news is None:
            return
        if news.book is not None and not self._stale:
            lines.deepen(news.book)
        elif news.book is not None:
            self._stale = False
            lines.said = f"{Line().put(self._label, limit=60).text} has printed nothing"
            lines.take(news.book)
        elif news.lines or news.begun or book.loose:
            book.extend(news.lines, news.begun)
            lines.grown(news.lines)
            self._overflow = book.held and book.full

    def _clear(self) -> None:
        self.lines.take(LogBook(splits=self.lines.book.splits))

    # -- the heading -----------------------------------------------------------------------------

    def _tell(self) -> None:
        lines = self.lines
        left = [title("LOG"), (self._label, PLAIN)]
        row = lines.book.row(lines.cursor) if len(lines.book) else None
        if row is not None and lines.wanted is not None and lines.wanted.single:
            if lines.wanted != self._asked and self._many:
                left.append((lines.name_of(row.line.tid), PLAIN))
            only = " alone" if lines.wanted.attempt is not None else ""
            left.append((try_words(row.line.generation, row.line.attempt) + only, PLAIN))
        self.heading.say([part for part in left if part[0]], self._state())

    @property
    def _many(self) -> bool:
        return self._asked is not None and not self._asked.single

    def _state(self) -> list[Part]:
        lines, book = self.lines, self.lines.book
        parts: list[Part] = []
        if lines.needle:
            parts.append((f"/{lines.needle}" + (": no match" if lines.missed else ""),
                          BAD if lines.missed else WARN))
        if book.threshold:
            parts.append((THRESHOLD_WORDS[book.threshold], WARN))
        if book.dropped:
            parts.append((f"{book.dropped:,} older in the file (L)", DIM))
        if lines.following:
            parts.append(("FOLLOW", GOOD))
        else:
            more = "+" if self._overflow else ""
            parts.append((f"paused at {lines.cursor + 1:,}/{len(book):,}{more}", WARN))
        parts.append((f"wrap {'on' if lines.wrapped else 'off'}", DIM))
        return parts

    @on(LogLines.ThisTry)
    def _one_try(self) -> None:
        lines, asked = self.lines, self._asked
        if asked is None or lines.wanted is None or not len(lines.book):
            return
        if lines.wanted.attempt is None:
            line = lines.book.row(lines.cursor).line
            self._watch(asked._replace(tids=(line.tid,), attempt=(line.generation, line.attempt)))
        else:
            self._watch(asked._replace(attempt=None))

    # -- search ------------------------------------------------------------------------------------

    @on(LogLines.Search)
    def _type(self) -> None:
        self.field.add_class("-typing")
        self.field.value = self.lines.needle
        self.field.focus()

    @on(Input.Submitted)
    def _typed(self, event: Input.Submitted) -> None:
        event.stop()
        self._end_typing()
        self.lines.search(event.value)
        self.frame()

    def on_key(self, event: events.Key) -> None:
        """Esc gives up what is being typed."""
        if event.key == "escape" and self.field.has_focus:
            event.stop()
            self._end_typing()

    def _end_typing(self) -> None:
        self.field.remove_class("-typing")
        self.lines.focus()

    # -- out ---------------------------------------------------------------------------------------

    def text(self, last: int = 1_000) -> str:
        """The last lines that are shown, or would be in a moment, as text to copy.

        Raises OSError.
        """
        lines, wanted = self.lines, self.lines.wanted
        if wanted is None:
            return ""
        many = not wanted.single
        shown = list(newest(wanted, last) if self._stale else lines.book.lines())[-last:]
        return "".join(f"{as_text(s, lines.name_of(s.tid) if many else '')}\n" for s in shown)

    def whole(self) -> Iterator[str]:
        """Every line from the file; for a thread. Raises OSError."""
        wanted = self.lines.wanted
        return iter(()) if wanted is None else whole(wanted, self.lines.name_of)

    def save(self, path: Path) -> int:
        """Write the whole log to a new file; how many lines it has. For a thread.

        Raises OSError, FileExistsError among them.
        """
        return save(path, self.whole())

    def focus(self, scroll_visible: bool = True) -> LogPane:
        """The rows take the focus."""
        self.lines.focus(scroll_visible)
        return self

    def on_unmount(self) -> None:
        """Read no more."""
        self._source.close()
