"""Numbers in few cells, for figures that change in place: at most six characters each.

Rule: what is not a number is a dash, never a zero that nobody measured.
"""

from __future__ import annotations

#: Stands where a figure is not known.
UNKNOWN = "–"


def brief_number(number: float) -> str:
    """`0.4`, `17`, `4,812`, `61.2k`, `1.25M`."""
    if number < 0:
        return UNKNOWN
    if number < 9.95:
        return f"{number:.1f}".removesuffix(".0")
    if number < 9_999.5:
        return f"{number:,.0f}"
    for unit, size in (("k", 1e3), ("M", 1e6), ("G", 1e9)):
        if number < 999.5 * size:
            return f"{_three_digits(number / size)}{unit}"
    return f"{number / 1e12:.3g}T"


def brief_seconds(seconds: float) -> str:
    """`850µs`, `12ms`, `4.1s`, `3:20`, `2:05:00`, `3d 04h`."""
    if seconds < 0:
        return UNKNOWN
    if seconds < 0.9995e-3:
        return f"{seconds * 1e6:.0f}µs"
    if seconds < 0.9995:
        return f"{seconds * 1e3:.2g}ms" if seconds < 9.95e-3 else f"{seconds * 1e3:.0f}ms"
    if seconds < 59.95:
        return f"{seconds:.1f}s"
    whole = round(seconds)
    hours, rest = divmod(whole, 3600)
    if hours >= 48:
        return f"{hours // 24}d {hours % 24:02}h"
    return f"{hours}:{rest // 60:02}:{rest % 60:02}" if hours else f"{rest // 60}:{rest % 60:02}"


def brief_bytes(size: float) -> str:
    """`512B`, `84.2M`, `1.25G`, in steps of 1,024."""
    if size < 0:
        return UNKNOWN
    for unit in ("B", "K", "M", "G"):
        if size < 999.5:
            return f"{size:.0f}{unit}" if unit == "B" else f"{_three_digits(size)}{unit}"
        size /= 1024
    return f"{_three_digits(size)}T"


def _three_digits(number: float) -> str:
    if number < 9.995:
        return f"{number:.2f}"
    return f"{number:.1f}" if number < 99.95 else f"{number:.0f}"
