"""The pipe and the shared page, without a worker behind them."""

from __future__ import annotations

import os
import sys
import threading

import pytest

from engine.executors.process_board import (
    LIMIT,
    MARK,
    NOTHING,
    TEXT_ROOM,
    Board,
    lines_in,
    record_of,
)
from engine.executors.process_link import cause_of_death
from engine.executors.process_wire import REPORT, TEXT, Gone, Receiver, Sender, pack

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX")


def test_messages_of_every_size_arrive_whole_and_in_order() -> None:
    reader, writer = os.pipe()
    sizes = [0, 1, 65_535, 65_536, 65_537, 3, 5_000_000, 0, 200_000]
    sender, receiver = Sender(writer), Receiver(reader)

    def send() -> None:
        for size in sizes:
            sender.send(TEXT, pack([size, "\ud800"]), os.urandom(1) * size)

    thread = threading.Thread(target=send)
    thread.start()
    for size in sizes:
        kind, head, tail = receiver.receive()
        assert (kind, head, len(tail)) == (TEXT, (size, "\ud800"), size)
        assert len(set(bytes(tail))) <= 1
    thread.join()
    os.close(writer)
    with pytest.raises(Gone):
        receiver.receive()
    os.close(reader)


@pytest.mark.parametrize("cut", [1, 12, 13, 20, 113, 90_000])
def test_half_a_message_is_no_message(cut: int) -> None:
    reader, writer = os.pipe()
    inner_reader, inner_writer = os.pipe()
    thread = threading.Thread(
        target=lambda: Sender(inner_writer).send(REPORT, b"", bytes(100_000))
    )
    thread.start()
    data = b""
    while len(data) < cut:
        data += os.read(inner_reader, cut - len(data))

    def send() -> None:
        os.write(writer, data[:60_000])
        os.write(writer, data[60_000:])
        os.close(writer)

    sending = threading.Thread(target=send)
    sending.start()
    with pytest.raises(Gone):
        Receiver(reader).receive()
    sending.join()
    while len(data) < 100_013:
        data += os.read(inner_reader, 65_536)
    thread.join()
    for fd in (reader, inner_reader, inner_writer):
        os.close(fd)


def test_sending_to_nobody_is_gone() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with pytest.raises(Gone):
        Sender(writer).send(REPORT, b"", bytes(200_000))
    os.close(writer)


def test_the_page_is_one_for_both_sides() -> None:
    engine = Board.create()
    worker = Board(os.dup(engine.fd))
    assert engine.words[MARK] == NOTHING
    assert worker.begin(6, 1.5) and worker.begin(7, 2.5)
    assert engine.words[MARK] == 7
    assert (engine.start_of(6), engine.start_of(7)) == (1.5, 2.5)
    engine.words[LIMIT] = 8
    assert not worker.begin(8, 3.5)
    assert engine.words[MARK] == 8, "what was refused is marked all the same: it is not blamed"
    worker.close()
    engine.close()


def test_text_on_the_page_survives_and_is_bounded() -> None:
    engine = Board.create()
    worker = Board(os.dup(engine.fd))
    assert worker.add_text(record_of(3, "out", 20, "grüß \ud800\n"))
    assert worker.add_text(record_of(4, "log", 40, ""))
    assert list(lines_in(engine.text())) == [(3, "out", 20, "grüß \ud800\n"), (4, "log", 40, "")]
    assert not worker.add_text(bytes(TEXT_ROOM))
    assert len(list(lines_in(engine.text()))) == 2
    worker.clear_text()
    assert not engine.has_text
    worker.close()
    engine.close()


@pytest.mark.parametrize(
    ("code", "killed", "words"),
    [
        (0, False, "exit code 0"),
        (-9, False, "signal 9 (SIGKILL); probably out of memory"),
        (-9, True, "signal 9 (SIGKILL)"),
        (-11, False, "signal 11 (SIGSEGV)"),
        (-200, False, "signal 200"),
    ],
)
def test_a_death_in_words(code: int, killed: bool, words: str) -> None:
    assert cause_of_death(code, killed).split("process ")[1].endswith(
        words if code else f"ended with {words} in the middle of the task"
    )
