from __future__ import annotations

import pickle
from collections.abc import Iterator

import pytest

from engine.errors import ConfigError, UnserialisableError
from engine.worker import secrets
from engine.worker.secrets import Secret, mask


@pytest.fixture(autouse=True)
def _nothing_revealed() -> Iterator[None]:
    secrets.forget_all()
    yield
    secrets.forget_all()


def test_a_secret_is_masked_from_the_moment_it_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    assert mask("hunter22") == "hunter22"
    monkeypatch.setenv("TOKEN", "hunter22")
    token = Secret.env("TOKEN")
    assert mask("login hunter22, again hunter22") == "login ***, again ***"
    monkeypatch.setenv("TOKEN", "rotated since")
    assert token.get() == token.value == "rotated since"
    assert mask("hunter22, rotated since") == "***, ***"


def test_it_never_shows_its_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKEN", "hunter22")
    token = Secret.env("TOKEN")
    token.get()
    shown = f"{token} {token!r} {token:>20} {pickle.dumps(token)!r} {token.reference}"
    assert "hunter22" not in shown


def test_it_travels_as_a_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    token = pickle.loads(pickle.dumps(Secret.env("TOKEN")))
    assert token == Secret.env("TOKEN") == Secret.from_reference(token.reference)
    assert hash(token) == hash(Secret.env("TOKEN"))
    monkeypatch.setenv("TOKEN", "rotated since")
    assert token.get() == "rotated since"


def test_a_missing_secret_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TOKEN", raising=False)
    with pytest.raises(ConfigError, match="export TOKEN="):
        Secret.env("TOKEN").get()


@pytest.mark.parametrize("reference", ["vault:TOKEN", "env:", "TOKEN"])
def test_an_unknown_reference_is_refused(reference: str) -> None:
    with pytest.raises(ConfigError, match="env:NAME"):
        Secret.from_reference(reference)


def test_using_the_reference_as_the_value_is_an_error() -> None:
    with pytest.raises(TypeError, match=r"\.get\(\)"):
        "Bearer " + Secret.env("TOKEN")  # type: ignore[operator]


def test_escaped_forms_are_masked_too() -> None:
    secrets.remember("line one\nline/two?")
    for form in ("'line one\\nline/two?'", "line%20one%0Aline/two%3F", "line+one%0Aline%2Ftwo%3F"):
        assert "two" not in mask(form), form


def test_a_key_of_several_lines_is_masked_line_by_line() -> None:
    secrets.remember("-----BEGIN KEY-----\nMIIEvQIBADANBg\nshort\n-----END KEY-----")
    assert mask("MIIEvQIBADANBg") == "***" and mask("short") == "short"


def test_base64_and_bytes_are_masked() -> None:
    secrets.remember("hunter22?>")
    assert mask("aHVudGVyMjI/Pg==") == mask("aHVudGVyMjI_Pg==") == "***"
    secrets.remember("gehe\u00edm-gehe\u00edm")
    assert "gehe" not in mask(repr("gehe\u00edm-gehe\u00edm".encode()))


def test_data_with_a_secret_in_it_is_refused_and_not_changed(monkeypatch) -> None:
    monkeypatch.setenv("TOKEN", "hunter2-hunter2")
    Secret.env("TOKEN")
    for stored in ("Bearer hunter2-hunter2", b"\x81\xa1a\xafhunter2-hunter2"):
        with pytest.raises(UnserialisableError, match="secret TOKEN"):
            secrets.refuse(stored)
    for harmless in ("Bearer", b"x", 1, None):
        secrets.refuse(harmless)


def test_a_longer_secret_is_masked_whole() -> None:
    secrets.remember("abcd")
    secrets.remember("abcd-efgh")
    assert mask("abcd-efgh abcd") == "*** ***"


def test_very_short_values_do_not_blot_out_innocent_text() -> None:
    secrets.remember("no")
    assert mask("nothing to note") == "nothing to note"
    assert not secrets.hiding()
