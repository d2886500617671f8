"""Objects by name, with errors that name the neighbours."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from difflib import get_close_matches
from typing import Any


def nearest(word: str, candidates: Iterable[str], count: int = 1) -> list[str]:
    """The `count` candidates that look most like `word`, whatever its case; [] if none does."""
    by_lower = {candidate.lower(): candidate for candidate in candidates}
    close = get_close_matches(word.lower(), by_lower, n=count, cutoff=0.6)
    return [by_lower[name] for name in close]


class Registry:
    """A table from names to objects of one kind.

        MODELS = Registry("model")

        @MODELS.register()          # under its own name; register("other") chooses one
        class SlowFast: ...

        MODELS.get("Slowfast")      # ValueError: no model 'Slowfast'; did you mean 'SlowFast'? ...

    An object without a name of its own is registered by a call: `DATASETS.register("sth")(entry)`.
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._items: dict[str, Any] = {}

    def register(self, name: str | None = None) -> Callable[[Any], Any]:
        """A decorator that adds its object; ValueError if the name is taken by another one."""

        def add(item: Any) -> Any:
            key = name or item.__name__
            if key in self._items:
                raise ValueError(f"{self.kind} {key!r} is already registered; choose another name")
            self._items[key] = item
            return item

        return add

    def get(self, name: str) -> Any:
        """The object called `name`; ValueError with the nearest and all names if there is none."""
        if name not in self._items:
            guess = nearest(str(name), self._items)
            hint = f"did you mean {guess[0]!r}? " if guess else ""
            known = ", ".join(self.names)
            raise ValueError(f"no {self.kind} {name!r}; {hint}registered: {known}")
        return self._items[name]

    @property
    def names(self) -> tuple[str, ...]:
        """All names, sorted."""
        return tuple(sorted(self._items))

    def __contains__(self, name: str) -> bool:
        return name in self._items

    def __repr__(self) -> str:
        return f"Registry({self.kind!r}: {', '.join(self.names)})"
