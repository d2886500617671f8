"""The configuration tree: fvcore's, with coercion, aliases and helpful errors in every merge."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from fvcore.common.config import CfgNode as FvcoreCfgNode

from slowfast.config.aliases import resolve_aliases
from slowfast.config.registry import nearest
from slowfast.config.values import coerce
from slowfast.config.yaml_files import Settings, flatten, read_settings

_OPTIONAL = "__optional_keys__"


class CfgNode(FvcoreCfgNode):
    """Keys as attributes; every merge ends in `merge_settings`, so files and overrides agree."""

    def merge_from_file(self, cfg_filename: str | Path, allow_unsafe: bool = False) -> None:
        """Merge a YAML file and its bases.  Only plain YAML is read, whatever `allow_unsafe`."""
        for settings in read_settings(cfg_filename):
            self.merge_settings(settings)

    def merge_from_list(self, cfg_list: Sequence[Any]) -> None:
        """Merge `[key, value, key, value, ...]`, as on a command line."""
        _check_words(cfg_list, {key for key, _ in flatten(self)})
        pairs = dict(zip(cfg_list[0::2], cfg_list[1::2], strict=True))
        self.merge_settings(Settings("command line", pairs))

    def merge_from_other_cfg(self, cfg_other: Mapping[str, Any]) -> None:
        """Merge another tree or dictionary."""
        self.merge_settings(Settings("merged config", dict(flatten(cfg_other))))

    def merge_settings(self, settings: Settings) -> None:
        """Set all values of one source, or none: raises ValueError that lists every problem."""
        try:
            values = resolve_aliases(settings, self)
        except ValueError as problem:
            raise ValueError(f"{settings.source}: {problem}") from None
        changes, problems = [], []
        for key, value in values.items():
            try:
                changes += self._plan(key, value)
            except ValueError as problem:
                problems.append(str(problem))
        if problems:
            raise ValueError(f"{settings.source}: " + "\n  ".join(problems))
        for node, name, value in changes:
            node._replace(name, value)

    @classmethod
    def load_yaml_with_base(cls, filename: str, allow_unsafe: bool = False) -> dict[str, Any]:
        """The values of a file and its bases by full key; kept since fvcore offers it."""
        merged: dict[str, Any] = {}
        for settings in read_settings(filename):
            merged |= settings.values
        return merged

    def _plan(self, key: str, value: Any) -> list[tuple[CfgNode, str, Any]]:
        """The change that sets `key`, as [(node, name, coerced value)]; [] for an empty section."""
        *sections, name = str(key).split(".")
        node: Any = self
        for section in sections:
            node = node.get(section) if isinstance(node, dict) else None
        if not isinstance(node, dict) or name not in node:
            raise ValueError(_unknown(key, [k for k, _ in flatten(self)]))
        if isinstance(node[name], dict):
            if value is None:  # "SOLVER:" with nothing below
                return []
            example = f"{key}.{next(iter(node[name]), '...')}"
            raise ValueError(f"{key} = {value!r}: {key} is a section; set its keys, like {example}")
        default = None if name in node.__dict__.get(_OPTIONAL, ()) else node[name]
        return [(node, name, coerce(key, value, default))]

    def _replace(self, name: str, value: Any) -> None:
        """Set a key; one that was None once accepts any type ever after."""
        optional = self.__dict__.setdefault(_OPTIONAL, set())
        if self[name] is None:
            optional.add(name)
        setattr(self, name, value)


def _check_words(words: Sequence[Any], known: Collection[str]) -> None:
    """Raises ValueError unless `words` can be pairs of key and value."""
    for word in words:
        key, equals, value = str(word).partition("=")
        if equals and key in known:
            raise ValueError(f"command line: {word!r} is KEY=VALUE; write {key} {value}")
        if str(word).startswith("[") and str(word).count("[") > str(word).count("]"):
            raise ValueError(
                f'command line: {word!r} is a part of a list; put lists in quotes, like "[4, 8]"'
            )
    if len(words) % 2:
        stray = [word for word in words[0::2] if word not in known]
        what = f"{stray[0]!r} is no key" if stray else f"{words[-1]!r} has no value"
        raise ValueError(f"command line: overrides come in pairs KEY VALUE; {what}")


def _unknown(key: str, known: Iterable[str]) -> str:
    guesses = suggest(key, known)
    if not guesses:
        return f"unknown key {key}; slowfast/config/defaults lists all keys"
    return f"unknown key {key}; did you mean {' or '.join(guesses)}?"


def suggest(key: str, known: Iterable[str], count: int = 3) -> list[str]:
    """The known keys most likely meant: the same name in another section, else similar spelling."""
    known = list(known)
    leaf = key.rsplit(".", 1)[-1].upper()
    same_name = [k for k in known if k.rsplit(".", 1)[-1] == leaf]
    if same_name:
        return (nearest(key, same_name, count) or same_name)[:count]
    leaves = {k.rsplit(".", 1)[-1]: k for k in known}
    similar_name = [leaves[name] for name in nearest(leaf, leaves)]
    return list(dict.fromkeys(nearest(key, known, count) + similar_name))[:count]
