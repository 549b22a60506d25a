"""The log pane: what a task run printed, or several, or all of them, as it comes.

Rule 1: it shows a `LogBook`, which a `LogSource` fills from beside the screen's loop; a frame
        takes what was read, and paints what is in sight.
Rule 2: the app calls `frame`, and only while the pane is in sight.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

from textual import events, on
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.widgets import Input

from flowforge_tui.logbook import THRESHOLD_WORDS, LogBook, try_words
from flowforge_tui.logsource import LogSource, Wanted, as_text, newest, save, whole
from flowforge_tui.look import BAD, DIM, GOOD, PLAIN, WARN, Look
from flowforge_tui.strips import Line
from flowforge_tui.widgets.heading import Heading, Part, title
from flowforge_tui.widgets.log_lines import LogLines


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
        self.lines.drawing.name_of = names
        label = label or self._label_of(tids, names)
        if wanted is None or wanted != self._asked or label != self._label:
            self._label, self._asked = label, wanted
            self._watch(wanted)

    def _watch(self, wanted: Wanted | None) -> None:
        lines = self.lines
        lines.wanted, self._overflow, self._stale = wanted, False, wanted is not None
        lines.drawing.many = wanted is not None and not wanted.single
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
                now, live=live, width=lines.text_width, threshold=book.threshold)
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
                left.append((lines.drawing.name_of(row.line.tid), PLAIN))
            only = " alone" if lines.wanted.attempt is not None else ""
            left.append((try_words(row.line.generation, row.line.attempt) + only, PLAIN))
        self.heading.say([part for part in left if part[0]], self._state())

    @property
    def _many(self) -> bool:
        return self._asked is not None and not self._asked.single

    def _state(self) -> list[Part]:
        lines, book = self.lines, self.lines.book
        parts: list[Part] = []
        if lines.drawing.needle:
            parts.append((f"/{lines.drawing.needle}" + (": no match" if lines.missed else ""),
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
        parts.append((f"wrap {'on' if lines.drawing.wrapped else 'off'}", DIM))
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
        self.field.value = self.lines.drawing.needle
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
        shown = list(newest(wanted, last) if self._stale else lines.book.lines())[-last:]
        name_of = lines.drawing.name_of
        return "".join(
            f"{as_text(s, '' if wanted.single else name_of(s.tid))}\n" for s in shown)

    def whole(self) -> Iterator[str]:
        """Every line from the file; for a thread. Raises OSError."""
        wanted = self.lines.wanted
        return iter(()) if wanted is None else whole(wanted, self.lines.drawing.name_of)

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
