"""The one place that decides which value a key accepts, by the type of the value it replaces."""

from __future__ import annotations

import datetime
import math
from ast import literal_eval
from collections.abc import Iterator
from typing import Any

# What the lists hold whose default is empty.
EMPTY_LISTS_OF: dict[str, Any] = {
    "FFN.TAGS": "",
    "FFN.SIZES": 0,
    "SOLVER.NO_WEIGHT_DECAY": "",
    "MVIT.DIM_MUL": [0, 0.0],
    "MVIT.HEAD_MUL": [0, 0.0],
    "MVIT.POOL_Q_STRIDE": [0],
    "MVIT.POOL_KV_STRIDE": [0],
    "DATA.TRAIN_JITTER_SCALES_RELATIVE": 0.0,
    "DATA.TRAIN_JITTER_ASPECT_RELATIVE": 0.0,
    "TEST.NUM_FRAMES": 0,
    "TEST.SIZES": 0,
    "TEST.EXIT_THRESHOLDS": 0.0,
    "SOLVER.STEPS": 0,
    "SOLVER.LRS": 0.0,
}

_WORDS = {"true": True, "false": False, "none": None, "null": None}
_EXPECTED = {
    bool: "True or False",
    int: "an integer",
    float: "a number",
    str: "text",
    list: "a list",
    tuple: "a list",
}


class _Mismatch(Exception):
    """A value does not fit; its argument says what was expected."""


def coerce(key: str, value: Any, default: Any) -> Any:
    """`value` in the type of `default`; ValueError with key, value and expectation if it has none.

    Integers become floats, numbers become text, lists and tuples each other, and text is read as
    the literal it spells (`"1e-4"`, `"(4, 8)"`, `"true"`) wherever text is not what is expected.
    A default of None accepts anything.  No number may be infinite or NaN.
    """
    element = EMPTY_LISTS_OF.get(key)
    try:
        fitted = _fit(value, default, element)
        if not all(map(math.isfinite, _floats(fitted))):
            raise _Mismatch("finite")
        return fitted
    except _Mismatch as mismatch:
        example = "" if default in ("", [], None) else f", like {default!r}"
        raise ValueError(f"{key} = {value!r} must be {mismatch}{example}") from None


def decode(value: Any) -> Any:
    """The literal that a text spells, else the text itself; other values as they are."""
    if not isinstance(value, str):
        return value
    text = value.strip()
    if text.lower() in _WORDS:
        return _WORDS[text.lower()]
    try:
        return literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return value


def _floats(value: Any) -> Iterator[float]:
    """The floats in lists of lists."""
    if isinstance(value, list | tuple):
        for entry in value:
            yield from _floats(entry)
    elif isinstance(value, float):
        yield value


def _fit(value: Any, default: Any, element: Any = None) -> Any:
    if isinstance(default, str):
        return _as_text(value)
    value = decode(value)
    if default is None:
        return _as_plain(value)
    kind = type(default)
    if isinstance(value, bool) or kind is bool:
        fits = isinstance(value, bool) and kind is bool
    elif kind in (list, tuple):
        fits = isinstance(value, list | tuple)
    else:
        fits = isinstance(value, int | float if kind is float else kind)
    if not fits:
        raise _Mismatch(_EXPECTED.get(kind, kind.__name__))
    if kind in (list, tuple):
        return _as_list(value, default, element)
    try:
        return kind(value)
    except OverflowError:
        raise _Mismatch("below 1.8e308") from None


def _as_text(value: Any) -> str:
    if isinstance(value, str):
        quoted = len(value) > 1 and value[0] == value[-1] and value[0] in "'\""
        decoded = decode(value) if quoted else value
        return decoded if isinstance(decoded, str) else value
    if isinstance(value, int | float | datetime.date) and not isinstance(value, bool):
        return str(value)
    raise _Mismatch("text")


def _as_plain(value: Any) -> Any:
    if value is not None and not isinstance(value, bool | int | float | str | list | tuple):
        raise _Mismatch("a number, text, a list or None")
    return value


def _as_list(value: list | tuple, default: list | tuple, element: Any) -> list | tuple:
    kinds = {type(item) for item in default}
    if len(kinds) == 1:
        element = default[0]
    if element is None:
        return type(default)(value)
    try:
        return type(default)(_fit(item, element) for item in value)
    except _Mismatch as mismatch:
        raise _Mismatch(f"a list, with each entry {mismatch}") from None
