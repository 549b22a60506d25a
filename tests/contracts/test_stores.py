"""What every store promises, over every store there is."""

from __future__ import annotations

import pytest

from engine.errors import StorageBroken, StorageFull
from engine.state.sqlite_store import SqliteStore
from engine.state.store import MemoryStore, Row, Store


@pytest.fixture(params=["memory", "full", "process"])
def store(request, tmp_path):
    if request.param == "memory":
        made: Store = MemoryStore()
    else:
        made = SqliteStore.create(tmp_path / "run.db", request.param)
    yield made
    made.close()


def fill(store):
    """Leave no room for a row of 100,000 bytes."""
    if isinstance(store, MemoryStore):
        store.capacity = 1000
    else:
        pages = store._execute("PRAGMA page_count").fetchone()[0]
        store._execute(f"PRAGMA max_page_count = {pages + 2}")


def make_room(store):
    if isinstance(store, MemoryStore):
        store.capacity = None
    else:
        store._execute("PRAGMA max_page_count = 1000000")


def test_rows_come_back_in_order_and_numbered_from_one(store):
    assert [store.append(b"%d" % i) for i in range(1200)] == list(range(1, 1201))
    assert list(store.rows()) == [Row(i + 1, b"%d" % i) for i in range(1200)]
    assert list(store.rows(after=1198)) == [Row(1199, b"1198"), Row(1200, b"1199")]
    assert list(store.rows(after=5000)) == []
    assert store.damage == []


def test_rows_of_any_content_and_size(store):
    contents = [b"", b"\0", bytes(range(256)), b"x" * 300_000]
    for data in contents:
        store.append(data)
    assert [row.data for row in store.rows()] == contents


def test_a_row_does_not_change_with_the_buffer_it_came_from(store):
    buffer = bytearray(b"before")
    store.append(bytes(buffer))
    buffer[:] = b"after!"
    assert next(store.rows()).data == b"before"


def test_meta_words_are_set_and_replaced_with_rows(store):
    store.append(b"a", {"state": "RUNNING", "workflow": "naïve ☃ '\"; DROP"})
    store.append(b"b", {"state": "SUCCESS"})
    store.append(b"c")
    words = store.meta()
    assert words["state"] == "SUCCESS"
    assert words["workflow"] == "naïve ☃ '\"; DROP"


def test_full_writes_nothing_and_can_be_tried_again(store):
    store.append(b"first", {"state": "RUNNING"})
    fill(store)
    for meta in (None, {"state": "SUCCESS"}):
        with pytest.raises(StorageFull):
            store.append(b"x" * 100_000, meta)
    assert list(store.rows()) == [Row(1, b"first")]
    assert store.meta()["state"] == "RUNNING"
    make_room(store)
    assert store.append(b"x" * 100_000, {"state": "SUCCESS"}) == 2
    assert store.meta()["state"] == "SUCCESS"
    assert [row.seq for row in store.rows()] == [1, 2]


def test_numbers_can_be_skipped_and_the_gap_shows(store):
    store.append(b"a")
    store.skip_to(3)
    assert store.append(b"d") == 4
    assert list(store.rows()) == [Row(1, b"a"), Row(2, None), Row(3, None), Row(4, b"d")]
    store.skip_to(1)
    assert store.append(b"e") == 5


def test_reading_while_writing_sees_what_was_there_or_more(store):
    for i in range(700):
        store.append(b"%d" % i)
    seen = []
    for row in store.rows():
        seen.append(row.seq)
        if row.seq == 100:
            store.append(b"more")
    assert seen[:700] == list(range(1, 701))
    assert set(seen[700:]) <= {701}


def test_a_closed_store_takes_nothing_more(store):
    store.append(b"a")
    store.flush()
    store.close()
    store.close()
    for _ in range(2):
        with pytest.raises(StorageBroken, match="open the run again"):
            store.append(b"b")


def test_the_cost_of_a_commit_is_a_number_of_seconds(store):
    for _ in range(50):
        store.append(b"a")
    assert 0 <= store.commit_seconds < 1
