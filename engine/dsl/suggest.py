"""Errors for names that do not exist: they say which one was probably meant."""

from __future__ import annotations

from collections.abc import Iterable

from engine.errors import UnknownOptionError


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that looks most like `name`; None if none does."""
    from difflib import get_close_matches

    close = get_close_matches(name, list(known), n=1, cutoff=0.6)
    return close[0] if close else None


def unknown_option(name: str, known: Iterable[str], of: str) -> UnknownOptionError:
    """The error for an option that does not exist, naming the nearest one or all of them."""
    known = sorted(known)
    close = nearest(name, known)
    hint = f"did you mean {close!r}?" if close else f"the options are: {', '.join(known)}"
    return UnknownOptionError(f"{of} has no option {name!r}; {hint}")
