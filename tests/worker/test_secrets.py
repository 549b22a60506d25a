from __future__ import annotations

import pickle
from collections.abc import Iterator

import pytest

from engine.errors import ConfigError
from engine.worker import secrets
from engine.worker.secrets import Secret, mask


@pytest.fixture(autouse=True)
def _nothing_revealed() -> Iterator[None]:
    secrets.forget_all()
    yield
    secrets.forget_all()


def test_a_secret_is_masked_from_the_moment_it_is_revealed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKEN", "hunter22")
    token = Secret.env("TOKEN")
    assert mask("hunter22") == "hunter22"
    assert token.get() == token.value == "hunter22"
    assert mask("login hunter22, again hunter22") == "login ***, again ***"


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


def test_a_longer_secret_is_masked_whole() -> None:
    secrets.remember("abcd")
    secrets.remember("abcd-efgh")
    assert mask("abcd-efgh abcd") == "*** ***"


def test_very_short_values_do_not_blot_out_innocent_text() -> None:
    secrets.remember("no")
    assert mask("nothing to note") == "nothing to note"
    assert not secrets.hiding()
