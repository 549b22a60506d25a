"""The tree in an app of its own: what it shows, what keys do, what a frame costs."""

from __future__ import annotations

from engine import TaskState
from flowforge_tui.figures import Figures
from flowforge_tui.headline import Title, bar, headline, percent, shares
from flowforge_tui.look import Look
from flowforge_tui.widgets.tree import TaskTree
from tests.screens.pilot import drive, picture
from tests.screens.scenes import NOW, Scene, nightly_etl


def lines_of(pilot) -> list[str]:
    return [line.rstrip() for line in picture(pilot).splitlines()]


def test_the_tree_shows_what_the_mock_up_shows():
    scene = nightly_etl()

    async def act(tree, pilot):
        tree.focus()
        tree.frame(NOW)
        await pilot.pause()
        text = picture(pilot)
        assert "▾ ✗ extract" in text and "1,000/1,000 ✗2" in text
        assert "✗ extract[17]         ValueError: bad row 17   try 3/3     1.2s" in text
        assert "… 998 ok  (o: show)" in text
        assert "60,208/98,000 ✗1 ↻1 ●32" in text
        assert "↻ transform[41877]    in 12.0s · ConnReset" in text
        assert "● transform[60240]    w00" in text
        assert "37,759 queued, 60,207 ok" in text
        assert "load" in text and "waits: transform" in text
        assert "blocked by extract[17]" in text

    drive(lambda: TaskTree(scene.view), act)


def test_the_same_in_ascii_has_only_ascii():
    scene = nightly_etl()

    async def act(tree, pilot):
        tree.focus()
        for width, height in ((80, 24), (120, 40), (40, 10), (200, 50)):
            await pilot.resize_terminal(width, height)
            tree.frame(NOW)
            await pilot.pause()
            text = picture(pilot)
            assert text.isascii(), [c for c in text if not c.isascii()]
            assert "X extract" in text

    drive(lambda: TaskTree(scene.view, Look(unicode=False)), act)


def test_a_frame_of_100_000_builds_the_lines_that_changed_alone():
    scene = nightly_etl()
    transform = list(scene.view.runs_of(scene.view.shape.sections[2]))

    async def act(tree, pilot):
        tree.focus()
        tree.frame(NOW)
        await pilot.pause()
        before = tree.lines_built
        tree.frame(NOW)
        await pilot.pause()
        assert tree.lines_built == before, "nothing changed"
        for i in range(10):
            scene.ok(transform[61_000 + i * 500:61_500 + i * 500], 758)
            tree.frame(NOW)
            await pilot.pause()
        assert 10 <= tree.lines_built - before <= 30, "the section's line and its rest"

    drive(lambda: TaskTree(scene.view), act)


def test_the_cursor_stays_on_its_task_run_while_rows_come_above_it():
    scene = nightly_etl()
    extract = scene.view.runs_of(scene.view.shape.sections[1])

    async def act(tree, pilot):
        tree.focus()
        tree.frame(NOW)
        for _ in range(3):
            tree.action_next_failure()
        tid = tree.tid
        assert scene.view.name_of(tid) == "transform[412]"
        y = tree.cursor
        scene.fail(extract[5])
        tree.frame(NOW)
        assert tree.tid == tid and tree.cursor == y + 1
        scene.ok([tid], 760)
        tree.frame(NOW)
        assert tree.tid == tid, "it stays while the cursor is on it"
        tree.action_top()
        tree.frame(NOW)
        scene.ok([tid + 1], 760)  # with the next change of its section
        tree.frame(NOW)
        assert tid not in [row.id for row in map(tree.tree_rows.row, range(len(tree.tree_rows)))
                           if row.kind == "task"], "it went into the rest"

    drive(lambda: TaskTree(scene.view), act)


def test_failures_are_walked_round_and_round_and_back():
    scene = nightly_etl()

    async def act(tree, pilot):
        tree.frame(NOW)
        tree.action_expand_all()
        tree.tree_rows.set_open("section", 1, False)
        seen = []
        for _ in range(4):
            tree.action_next_failure()
            seen.append(scene.view.name_of(tree.tid))
        assert seen == ["extract[17]", "extract[31]", "transform[412]", "extract[17]"]
        tree.action_previous_failure()
        assert scene.view.name_of(tree.tid) == "transform[412]"
        tree.action_back()
        assert scene.view.name_of(tree.tid) == "extract[17]"
        tree.action_forth()
        assert scene.view.name_of(tree.tid) == "transform[412]"

    drive(lambda: TaskTree(scene.view), act)


def test_keys_expand_collapse_and_move():
    scene = nightly_etl()

    async def act(tree, pilot):
        tree.focus()
        tree.frame(NOW)
        await pilot.press("j")
        assert tree.row.kind == "section" and tree.row.id == 1
        await pilot.press("left")
        assert not tree.tree_rows.block_of("section", 1).open
        await pilot.press("right")
        await pilot.press("right")
        assert scene.view.name_of(tree.tid) == "extract[17]"
        await pilot.press("left")
        assert tree.row.kind == "section"
        await pilot.press("end")
        assert tree.cursor == tree.count() - 1
        await pilot.press("home")
        assert tree.cursor == 0

    drive(lambda: TaskTree(scene.view), act)


def test_all_98_000_items_are_shown_and_left():
    scene = nightly_etl()

    async def act(tree, pilot):
        tree.focus()
        tree.frame(NOW)
        tree.reveal(scene.view.runs_of(scene.view.shape.sections[2])[412])
        before = tree.lines_built
        tree.action_show_all()
        await pilot.pause()
        assert tree.count() > 98_000
        assert scene.view.name_of(tree.tid) == "transform[412]"
        await pilot.press("end")
        await pilot.pause()
        assert tree.lines_built - before < 200
        assert "archive" in picture(pilot)

    drive(lambda: TaskTree(scene.view), act)


def test_marks_and_the_selection():
    scene = nightly_etl()
    view = scene.view
    extract = view.runs_of(view.shape.sections[1])
    for i in range(100, 130):
        scene.fail(extract[i], f"bad row {i}")

    async def act(tree, pilot):
        tree.focus()
        tree.frame(NOW)
        assert tree.selection() == [0]
        tree.reveal(extract[17])
        assert tree.selection() == [extract[17]]
        tree.action_mark_same_error()
        assert tree.selection() == [extract[17], *extract[100:130]]
        assert "◆" in picture(pilot)
        assert tree.clear_marks() and not tree.clear_marks()
        tree.action_mark()
        assert tree.selection() == [extract[17]]
        tree.clear_marks()
        tree.reveal(extract[17])
        tree.action_mark_range()
        await pilot.press("j", "j")
        tree.action_mark_range()
        assert tree.selection() == [extract[17], extract[31], extract[100]]
        tree.clear_marks()
        assert tree.set_filter("err:Timeout") == ""
        tree.action_mark_all()
        assert tree.selection() == [extract[31]]
        assert "at character" in tree.set_filter("state:oops")
        assert tree.filter_text == "err:Timeout"

    drive(lambda: TaskTree(scene.view), act)


def test_it_goes_along_with_what_runs_until_it_is_moved():
    scene = nightly_etl()

    async def act(tree, pilot):
        tree.focus()
        tree.frame(NOW)
        tree.action_follow()
        first = tree.tid
        assert scene.view.name_of(first) == "transform[60240]"
        scene.ok([first], 760)
        tree.frame(NOW)
        assert scene.view.name_of(tree.tid) == "transform[60241]"
        await pilot.press("k")
        assert not tree.follows

    drive(lambda: TaskTree(scene.view), act)


def test_messages_tell_where_the_cursor_is():
    scene = nightly_etl()

    class Heard(TaskTree):
        def post_message(self, message):
            if isinstance(message, (TaskTree.Highlighted, TaskTree.Opened)):
                heard.append(message)
            return super().post_message(message)

    heard: list = []

    async def act(tree, pilot):
        tree.focus()
        tree.frame(NOW)
        await pilot.press("j")
        assert isinstance(heard[-1], TaskTree.Highlighted)
        assert tree.highlighted().name == "extract" and tree.tid is None
        await pilot.press("j", "enter")
        assert isinstance(heard[-1], TaskTree.Opened)
        assert scene.view.name_of(tree.highlighted()) == "extract[17]"
        tree.move_to(tree.tree_rows.index_of("group", 0))
        assert isinstance(heard[-1], TaskTree.Highlighted)
        assert tree.highlighted() is None and tree.row.kind == "group"

    drive(lambda: Heard(scene.view), act)


HOSTILE = "\x1b]52;c;ZXZpbA==\x07\x1b[2J\x9b31m\u202e[bold]x[/][@click=app.quit]y[/]\nz"


def test_hostile_names_and_errors_drive_nothing():
    scene = Scene("hostile")
    many = scene.task(HOSTILE, over=range(1))
    scene.begin()
    ids = scene.expand(many, 20, [HOSTILE + str(i) for i in range(20)])
    scene.fail(ids[3], HOSTILE, HOSTILE)
    scene.move([ids[4]], TaskState.SKIPPED, -1, HOSTILE)

    async def act(tree, pilot):
        tree.focus()
        for width in (40, 80, 160):
            await pilot.resize_terminal(width, 24)
            tree.set_filter("")
            tree.frame(NOW)
            tree.set_reason(ids[5], HOSTILE)
            tree.action_show_all()
            await pilot.pause()
            text = picture(pilot)
            assert "[bold]" in text
            assert not set(text) & set("\x1b\x07\x9b\u202e")

    drive(lambda: TaskTree(scene.view), act)


def test_the_reason_of_a_wait_is_shown_for_the_row_that_it_was_told_for():
    scene = Scene()
    tasks = [scene.task(name) for name in ("first", "second")]
    scene.begin().move([0, 1], TaskState.QUEUED)

    async def act(tree, pilot):
        tree.frame(NOW)
        tree.set_reason(tasks[1].index, "limit gpu")
        tree.frame(NOW)
        await pilot.pause()
        text = picture(pilot)
        assert text.count("waits: limit gpu") == 1 and text.count("queued") == 1

    drive(lambda: TaskTree(scene.view), act)


# -- the header ----------------------------------------------------------------------------------


def head(view, width: int, *, note: str = "") -> tuple[str, str]:
    look, figures = Look(), Figures(view)
    while figures.look():
        pass
    title = Title("nightly_etl", "20261125-194713-8f3a", note)
    line = "".join(p.text for p in headline(title, view, figures, NOW, width, look))
    return line, "".join(text for text, _ in bar(view.totals, width, look))


def test_the_header_at_every_width():
    view = nightly_etl().view
    line, _ = head(view, 80)
    assert line.startswith(" nightly_etl 8f3a RUNNING 12:41  ✓61,206 ✗3 ●32 ↻1 ⊗4 ○37,762")
    for width in range(20, 200):
        line, drawn = head(view, width, note="at 12:03:11" if width > 60 else "")
        assert len(line) <= width and len(drawn) == width
        assert "RUNNING" in line
        if width >= 40:
            assert "✗3" in line
        if width >= 20:
            assert "▓" in drawn and "▒" in drawn and "▞" in drawn, "failures never vanish"
    assert "20261125-194713-8f3a" in head(view, 120)[0]


def test_a_share_is_a_share():
    for numbers in ([0, 0], [1, 99], [1, 1_000_000, 3], [5, 0, 5], [7]):
        for width in (10, 11, 80):
            cells = shares(numbers, width)
            assert sum(cells) == width
            assert all(bool(c) == bool(n) for n, c in zip(numbers, cells)) or not sum(numbers)
    assert percent([0] * 11) is None
    totals = [0] * 11
    totals[TaskState.SUCCESS], totals[TaskState.PENDING] = 999_999, 1
    assert percent(totals) == 99
