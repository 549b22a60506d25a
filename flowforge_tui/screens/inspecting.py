"""Looking closer at a run from its screen: panes, filter, and what goes out of here."""

from __future__ import annotations

import os
import shlex
import shutil
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from textual import work
from textual.widgets import Input

from engine.front import wording
from flowforge_tui.screens.ask import Ask, Choice
from flowforge_tui.screens.steering import Steering
from flowforge_tui.widgets.detail import DetailPane
from flowforge_tui.widgets.graph import GraphPane
from flowforge_tui.widgets.header import Header
from flowforge_tui.widgets.metrics import MetricsPanel
from flowforge_tui.widgets.timeline import Timeline
from flowforge_tui.widgets.tree import TaskTree
from flowforge_tui.yank import Yank, fits, of_run, of_task, of_tasks, to_file

#: Characters of what would be copied that the question shows.
_PREVIEW = 60

#: What a person's editor and pager are, if they do not say.
_EDITOR, _PAGER = "vi", "less -R"


class Inspecting(Steering):
    """Keys that look, and change nothing of the run."""

    @property
    def header(self) -> Header:
        """The first lines."""
        return self.query_one(Header)

    @property
    def tree_pane(self) -> TaskTree:
        """The tasks."""
        return self.query_one(TaskTree)

    @property
    def pane(self) -> DetailPane:
        """What is known of the task under the cursor."""
        return self.query_one(DetailPane)

    @property
    def graph(self) -> GraphPane:
        """Stages, and what is around the task under the cursor."""
        return self.query_one(GraphPane)

    @property
    def metrics(self) -> MetricsPanel:
        """Figures."""
        return self.query_one(MetricsPanel)

    @property
    def timeline(self) -> Timeline:
        """Who did what when."""
        return self.query_one(Timeline)

    def selected(self) -> list[int]:
        """As in `Steering`."""
        return self.tree_pane.selection()

    def unmark(self) -> None:
        """As in `Steering`."""
        self.tree_pane.clear_marks()

    # -- the tree, the pane ---------------------------------------------------------------------

    def action_tree(self, what: str) -> None:
        """A key of the tree, wherever the focus is."""
        getattr(self.tree_pane, f"action_{what}")()

    def action_tab(self, name: str) -> None:
        """One side of the task under the cursor."""
        if not self.pane.size.height:
            self.action_zoom("pane")
        self.pane.action_tab(name)

    def action_timeline(self) -> None:
        """The timeline alone, and back."""
        self.action_zoom("timeline")

    def action_graph(self) -> None:
        """The graph around the task under the cursor, and back."""
        self.action_zoom("graph")

    def action_next_pane(self) -> None:
        """The focus to the next pane in sight."""
        self.focus_next()

    def action_zoom(self, pane: str = "") -> None:
        """One pane alone, without borders, for copying; again: all of them."""
        body = self.query_one("#body")
        if self.has_class("-zoomed"):
            self.remove_class("-zoomed")
            for child in body.children:
                child.remove_class("-zoom")
            return
        chosen = self.query_one(f"#{pane}") if pane else self._pane_in_focus()
        chosen.add_class("-zoom")
        self.add_class("-zoomed")
        chosen.focus()

    def _pane_in_focus(self) -> Any:
        body, node = self.query_one("#body"), self.focused
        while node is not None and node.parent is not body:
            node = node.parent  # type: ignore[assignment]
        return node if node is not None else self.tree_pane

    def action_layout(self) -> None:
        """Another layout: with the pane below the tree, or without."""
        self.pane.display = not self.pane.display

    def action_mouse(self) -> None:
        """Leave the mouse to the terminal, so that it selects text; and take it back."""
        driver: Any = self.app._driver
        if driver is None or not hasattr(driver, "_disable_mouse_support"):
            return
        self._mouse = not self._mouse
        if self._mouse:
            driver._mouse = True
            driver._enable_mouse_support()
        else:
            driver._disable_mouse_support()
        self.own.tell("the mouse is the screen's" if self._mouse
                      else "the mouse is the terminal's: select and copy; M takes it back")

    _mouse = True

    def action_help(self) -> None:
        """All keys."""
        from flowforge_tui.screens.help import HelpScreen

        self.app.push_screen(HelpScreen())

    # -- the filter -----------------------------------------------------------------------------

    def action_filter(self) -> None:
        """Type a filter; it acts while it is typed."""
        field = self.query_one("#filter", Input)
        field.add_class("-open")
        field.focus()

    def on_input_changed(self, event: Input.Changed) -> None:
        """The filter acts while it is typed."""
        if event.input.id == "filter":
            self._filter(event.value, typing=True)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """The filter stays; the tree has the keys again."""
        if event.input.id == "filter":
            self._filter(event.value, typing=False)
            self._end_filter()

    def _filter(self, text: str, *, typing: bool) -> None:
        trouble = self.tree_pane.set_filter(text)
        if trouble and not typing:
            self.own.tell(trouble, severity="warning")

    def _end_filter(self) -> None:
        self.query_one("#filter", Input).remove_class("-open")
        self.tree_pane.focus()

    def action_failed_only(self) -> None:
        """Failures and what is tried again, and all again."""
        self.tree_pane.action_failed_only()
        with self.prevent(Input.Changed):
            self.query_one("#filter", Input).value = self.tree_pane.filter_text

    def action_clear(self) -> None:
        """Esc: what was typed, then marks, then the filter; then back to the tree."""
        field = self.query_one("#filter", Input)
        if field.has_class("-open"):
            self._end_filter()
        elif self.has_class("-zoomed"):
            self.action_zoom()
        elif self.tree_pane.clear_marks():
            return
        elif field.value:
            field.value = ""
            self._filter("", typing=False)
        else:
            self.tree_pane.focus()

    # -- out of here ------------------------------------------------------------------------------

    def _place(self) -> tuple[str, int] | None:
        """(file, line) that `e` opens: where the task failed, else where its code is."""
        tids = self.tree_pane.current()
        for tid in tids[:1]:
            error = self.view.errors.get(tid, ("", None))[1]
            if error is not None and error.file:
                return error.file, error.line
            place = self.feed.place(tid)
            if place is not None:
                return place.file, place.line
        return None

    def action_edit(self) -> None:
        """Open $EDITOR where the task failed, else where its code is; `r` then runs the edited."""
        found = self._place()
        if found is None:
            self.own.tell("where its code is, is not known", severity="warning")
            return
        file, line = found
        if not Path(file).exists():
            self.own.tell(f"{file} is not here", severity="warning")
            return
        self._watch(file)
        before = modified(Path(file))
        trouble = self.own.run_outside(editor_command(file, line))
        if trouble:
            self.own.tell(trouble, severity="warning")
        elif modified(Path(file)) > before:
            self.own.tell("saved; r runs it again with the new code")
        self.tree_pane.focus()

    def _watch(self, file: str) -> None:
        """A file that may be edited from now on: newer than now, it makes `r` reload."""
        self._watched.setdefault(Path(file), modified(Path(file)))

    _watched: dict[Path, float]

    def edited(self) -> Mapping[Path, float]:
        """As in `Steering`."""
        times = {file: modified(file) for file in self._watched}
        return {file: at for file, at in times.items() if at > self._watched[file]}

    def code_loaded(self, files: Mapping[Path, float]) -> None:
        """As in `Steering`."""
        self._watched.update(files)

    @work(thread=True, exclusive=True, group="whole log")
    def action_pager(self) -> None:
        """Open $PAGER on the whole log of the selection."""
        folder = tempfile.mkdtemp(prefix="flowforge-")
        file = Path(folder, "flowforge.log")
        try:
            self.pane.log_pane.save(file)
            self.app.call_from_thread(self._open_pager, file)
        except OSError as error:
            self._say_from_thread(f"{file}: {error.strerror}", "error")
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _open_pager(self, file: Path) -> None:
        command = [*shlex.split(os.environ.get("PAGER") or _PAGER), str(file)]
        trouble = self.own.run_outside(command)
        if trouble:
            self.own.tell(trouble, severity="warning")
        self.refresh(layout=True)

    @work(thread=True, exclusive=True, group="whole log")
    def action_save(self) -> None:
        """Save the whole log of the selection to a file here."""
        path = Path(f"{self.feed.run_id or 'run'}-{time.strftime('%H%M%S')}.log").absolute()
        try:
            lines = self.pane.log_pane.save(path)
        except OSError as error:
            self._say_from_thread(f"{path}: {error.strerror}", "error")
        else:
            self._say_from_thread(f"{wording.amount(lines, 'line')} saved to {path}")

    def _say_from_thread(self, text: str, severity: str = "information") -> None:
        self.app.call_from_thread(self.own.tell, text, severity=severity)

    def action_yank(self) -> None:
        """Copy something of the selection: asks what."""
        offers = {offer.key: offer for offer in self._offers()}
        choices = [Choice(o.key, f"{o.title}  {_first_line(o.get())}", o.key)
                   for o in offers.values() if o.key != "l"]
        choices += [Choice(o.key, o.title, o.key) for o in offers.values() if o.key == "l"]

        def chosen(key: str | None) -> None:
            if not key:
                return
            try:
                self._copy(offers[key].get())
            except OSError as error:
                self.own.tell(f"the log cannot be read: {error.strerror}", severity="error")

        self.app.push_screen(Ask("Copy what?", [], choices), chosen)

    def _offers(self) -> list[Yank]:
        view, feed, tree = self.view, self.feed, self.tree_pane
        tids = self.selected()
        if not tids:
            return of_run(view, feed.run_id, feed.home, live=feed.live)
        if len(tids) == 1:
            return of_task(view, tids[0], feed.run_id, feed.home, self.pane.log_pane.text,
                           self.pane.details if tree.tid == tids[0] else None)
        return of_tasks(view, tids, feed.run_id, feed.home)

    def _copy(self, text: str) -> None:
        """To the terminal's clipboard; to a file, if that is too much for it."""
        if fits(text):
            self.app.copy_to_clipboard(text)
            self.own.tell("copied")
            return
        try:
            path = to_file(text)
        except OSError as error:
            self.own.tell(f"it cannot be written: {error.strerror}", severity="error")
        else:
            self.own.tell(f"too much for the clipboard: written to {path}")


def _first_line(text: str) -> str:
    line = text.strip().partition("\n")[0]
    return line if len(line) <= _PREVIEW else f"{line[:_PREVIEW]}…"


def modified(file: Path) -> float:
    """When a file was modified, seconds since the epoch; 0.0 if it is not there."""
    try:
        return file.stat().st_mtime
    except OSError:
        return 0.0


def editor_command(file: str, line: int) -> list[str]:
    """$VISUAL or $EDITOR, at a line in the way that each of them takes it."""
    editor = shlex.split(os.environ.get("VISUAL") or os.environ.get("EDITOR") or _EDITOR)
    name = Path(editor[0]).name
    if name in ("code", "codium", "cursor"):
        return [*editor, "--wait", "--goto", f"{file}:{line}"]
    if name in ("subl", "hx", "zed"):
        return [*editor, f"{file}:{line}"]
    return [*editor, *([f"+{line}"] if line else []), file]
