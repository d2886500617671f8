"""Libraries that need not be there."""

from importlib import import_module
from types import ModuleType

import torch

# Versions that belong together; torchvision is built for one release of torch.
_TESTED = {
    "torchvision": "torchvision==0.28.0",
    "timm": "torchvision==0.28.0 timm==1.0.31",
    "pytorchvideo": "torchvision==0.28.0 pytorchvideo==0.1.5",
}
_CPU_BUILDS = "https://download.pytorch.org/whl/cpu"


def require(module: str, user: str) -> ModuleType:
    """The module of an optional library, for `user`.

    Raises ValueError, with the command that helps, if it is missing or does not load: beside a
    torch of another build torchvision, which the others import, raises RuntimeError.
    """
    try:
        return import_module(module)
    except (ImportError, RuntimeError, OSError, AttributeError) as error:
        release, _, build = torch.__version__.partition("+")
        index = f" --extra-index-url {_CPU_BUILDS}" if build == "cpu" else ""
        package = module.partition(".")[0]
        raise ValueError(
            f"{user} needs {package}, which does not load beside torch {torch.__version__} "
            f"({type(error).__name__}: {error}); install what goes with it: "
            f"pip install -U torch=={release} {_TESTED[package]}{index}"
        ) from error
