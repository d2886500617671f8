"""Packages that only exporting needs."""

from __future__ import annotations

from importlib.util import find_spec

PACKAGES = ("onnx", "onnxscript", "onnxruntime")


def installed(*packages: str) -> bool:
    """Whether all of `packages` are there."""
    return all(find_spec(name) for name in packages)


def need(*packages: str) -> None:
    """Raises ValueError, saying what to install, unless all of `packages` are there."""
    missing = [name for name in packages if not installed(name)]
    if missing:
        raise ValueError(
            f"{' and '.join(missing)} must be installed to export; "
            "run: pip install 'slowfast-ffn[onnx]'"
        )
