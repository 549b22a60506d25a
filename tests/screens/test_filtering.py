"""The filter language: what it keeps, what it refuses, and that it never walks in vain."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine import TaskState
from flowforge_tui.filter_terms import Name
from flowforge_tui.filtering import FIELDS, STATES, FilterError, completions, parse
from tests.screens.made import attempt, succeeded
from tests.screens.scenes import NOW, Scene


def scene() -> Scene:
    """Plain tasks, a map with numbers, a map with keys, many calls of one task, a group."""
    s = Scene("filters")
    files = s.task("list_files")
    extract = s.task("extract", over=files)
    regions = s.task("by_region", over=files)
    s.task("clean", times=3)
    s.task("Report", group="Closing")
    s.begin()
    s.ok([files.index], 0, 2.5)
    e = s.expand(extract, 40)
    r = s.expand(regions, 3, ["eu-west", "us_east 1", "[odd]"])
    s.ok(e[:20], 3, 0.25)
    s.apply(succeeded([attempt(e[20], 4, 12, worker=3)]))
    s.fail(e[21], "Bad Row 17", "ValueError", start=5, seconds=1, number=3)
    s.fail(e[22], "the server did not answer", "TimeoutError", start=5, seconds=90, number=1,
           due=300)
    s.run([r[0]], 700.0, worker=3)
    s.move([e[30]], TaskState.QUEUED)
    return s


def kept(s: Scene, text: str, now: float = NOW) -> set[str]:
    view, filter = s.view, parse(text)
    return {view.name_of(t) for section in view.shape.sections
            for t in filter.select(view, view.runs_of(section), now)}


def names(stem: str, numbers) -> set[str]:
    return {f"{stem}[{i}]" for i in numbers}


ALL = kept(scene(), "")


@pytest.mark.parametrize(("text", "expected"), [
    ("", ALL),
    ("   ", ALL),
    ("state:failed", {"extract[21]"}),
    ("STATE:Failed", {"extract[21]"}),
    ("state:failed,retry", names("extract", [21, 22])),
    ("state:fai", {"extract[21]"}),
    ("state:failed,", {"extract[21]"}),
    ("state:running", {"by_region[eu-west]"}),
    ("state:ok", {"list_files", *names("extract", range(21))}),
    ("state:done extract", names("extract", range(22))),
    ("state:queued", {"extract[30]"}),
    ("state:waiting extract[3", names("extract", range(30, 40))),
    ("dur>10", names("extract", [20, 22]) | {"by_region[eu-west]"}),
    ("dur>1.4m", {"extract[22]"}),
    ("dur>=2.5s", {"list_files", *names("extract", [20, 22]), "by_region[eu-west]"}),
    ("dur<300ms", names("extract", range(20))),
    ("dur<=0.25", names("extract", range(20))),
    ("dur=12", {"extract[20]"}),
    ("err:Timeout", {"extract[22]"}),
    ('err:"bad row"', {"extract[21]"}),
    ("err:bad", {"extract[21]"}),
    ("tries>1", {"extract[21]"}),
    ("tries=3", {"extract[21]"}),
    ("tries<1 task:clean", {"clean", "clean-2", "clean-3"}),
    ("task:extract tries>=1", names("extract", range(23))),
    ("task:EXTR dur>10", names("extract", [20, 22])),
    ("worker:3", {"extract[20]", "by_region[eu-west]"}),
    ("worker:w03", {"extract[20]", "by_region[eu-west]"}),
    ("worker:9", set()),
    ("clean", {"clean", "clean-2", "clean-3"}),
    ("clean-", {"clean-2", "clean-3"}),
    ("extract[2]", {"extract[2]"}),
    ("tract[2", {"extract[2]", *names("extract", range(20, 30))}),
    ("raxt[2", set()),
    ("39", {"extract[39]"}),
    ("9]", {f"extract[{i}9]" for i in (1, 2, 3)} | {"extract[9]"}),
    ("west", {"by_region[eu-west]"}),
    ("EU-W", {"by_region[eu-west]"}),
    ("by_region[us", {"by_region[us_east 1]"}),
    ('"east 1"', {"by_region[us_east 1]"}),
    ("[odd]", {"by_region[[odd]]"}),
    ("report", {"Closing/Report"}),
    ("closing/", {"Closing/Report"}),
    ("-extract -by -clean", {"list_files", "Closing/Report"}),
    ("not extract not by not clean", {"list_files", "Closing/Report"}),
    ("not -list_files", {"list_files"}),
    ("-state:ok,pending -task:by_region", names("extract", [21, 22, 30])),
    ("extract -dur>10 state:ok", names("extract", range(20))),
    (r"re:t\[1.\]$", names("extract", range(10, 20))),
    ('re:"east \\d"', {"by_region[us_east 1]"}),
    ('"state:failed"', set()),
    ("nothing", set()),
])
def test_what_a_filter_keeps(text, expected):
    assert kept(scene(), text) == expected


@pytest.mark.parametrize(("text", "position", "told"), [
    ("state:faild", 6, "did you mean failed?"),
    ("x state:failed,oops", 15, "no state `oops`"),
    ("state:", 6, "needs a value"),
    ("stat:failed", 0, "did you mean `state`?"),
    ("eu:west", 0, 'quote it: "eu:west"'),
    ("dur:fast", 4, "no duration"),
    ("dur>", 4, "needs a value"),
    ("state>3", 0, "written state:"),
    ("tries>many", 6, "no number"),
    ("a worker:first", 9, "no worker"),
    ("re:(", 3, "does not work"),
    ('a "b c', 2, "not closed"),
    ('a ""', 2, "nothing between"),
    ("a not", 2, "needs a term"),
])
def test_what_cannot_be_read_is_refused_with_its_place(text, position, told):
    with pytest.raises(FilterError) as caught:
        parse(text)
    assert caught.value.position == position
    assert told in str(caught.value)
    assert str(caught.value).endswith(f"(at character {position + 1})")


_WORDS = st.sampled_from([
    "extract", "ext", "e", "39", "[2", "west", "-clean", "not by", "state:failed",
    "state:failed,retry", "state:ok", "-state:ok", "dur>10", "dur>1", "dur<5", "err:row",
    "err:ro", "tries>1", "tries>0", "worker:3", "re:^e", '"east 1"', "task:ex", "task:extr",
])


@given(st.lists(_WORDS, max_size=3), st.lists(_WORDS, max_size=4))
@settings(deadline=None, max_examples=200)
def test_a_narrower_filter_keeps_a_part_of_what_a_wider_one_keeps(few, many):
    s = SCENE
    wide, narrow = " ".join(few), " ".join(many)
    both = kept(s, f"{wide} {narrow}")
    assert both == kept(s, wide) & kept(s, narrow)
    assert parse(f"{wide} {narrow}").narrows(parse(wide))
    if parse(narrow).narrows(parse(wide)):
        assert kept(s, narrow) <= kept(s, wide)


SCENE = scene()


@given(st.text(max_size=20))
@settings(deadline=None, max_examples=300)
def test_whatever_is_typed_is_read_or_refused(text):
    try:
        filter = parse(text)
    except FilterError as error:
        assert 0 <= error.position <= len(text)
    else:
        for section in SCENE.view.shape.sections:
            filter.select(SCENE.view, SCENE.view.runs_of(section), NOW)


def test_typing_on_narrows():
    assert parse("part_0").narrows(parse("part_"))
    assert parse("part_0 state:failed").narrows(parse("part"))
    assert not parse("part_").narrows(parse("part_0"))
    assert not parse("-part_0").narrows(parse("-part_"))
    assert parse("-part_").narrows(parse("-part_0"))
    assert parse("dur>10").narrows(parse("dur>5"))
    assert not parse("dur>5").narrows(parse("dur<5"))
    assert parse("anything").narrows(parse(""))


def test_states_of_a_whole_range_are_found_without_a_look_at_each():
    s = Scene()
    many = s.task("many", over=range(1))
    s.begin()
    ids = s.expand(many, 100_000)
    s.fail(ids[77_777])

    class Watched(bytearray):
        looks = 0

        def __getitem__(self, key):
            if not isinstance(key, slice):
                Watched.looks += 1
            return bytearray.__getitem__(self, key)

    s.view.state = Watched(s.view.state)
    assert list(parse("state:failed").select(s.view, ids, NOW)) == [ids[77_777]]
    assert parse("state:ok").select(s.view, ids, NOW) == ()
    assert Watched.looks == 0


def test_a_word_that_is_in_the_stem_keeps_the_range_as_it_is():
    s = Scene()
    many = s.task("many", over=range(1))
    s.begin()
    ids = s.expand(many, 100_000)
    assert Name("man").keep(s.view, ids, NOW) is ids


def test_only_what_failed_is_asked_for_its_error():
    s = scene()
    section = next(x for x in s.view.shape.sections if x.name == "extract")
    asked = []

    class Errors(dict):
        def __getitem__(self, tid):
            asked.append(tid)
            return dict.__getitem__(self, tid)

    s.view.errors = Errors(s.view.errors)
    parse("err:row").select(s.view, s.view.runs_of(section), NOW)
    assert len(asked) == 2


def test_completions():
    assert completions("") == []
    assert completions("st") == ["state:"]
    assert completions("a -st") == ["a -state:"]
    assert completions("du") == ["dur>"]
    assert completions("state:fa") == ["state:failed"]
    assert completions("x state:failed,re") == ["x state:failed,retry"]
    assert completions("state:") == [f"state:{word}" for word in STATES]
    assert completions("task:ex", ["extract", "an example", "load"]) == [
        "task:extract", 'task:"an example"']
    assert completions("err:") == []
    for field in FIELDS:
        for text in completions(field[:2]):
            assert text.rstrip(":>") in FIELDS
