"""From weights of image networks to weights of video networks (I3D, arXiv:1705.07750, 2.2)."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor


def inflate(
    state: Mapping[str, Tensor], expected_shapes: Mapping[str, Sequence[int]], centre: bool = False
) -> dict[str, Tensor]:
    """A copy of `state` in which the kernels without time have that of `expected_shapes`.

        (O, I, H, W) or (O, I, 1, H, W)  ->  (O, I, T, H, W)

    Each frame of a kernel gets 1/T of the weights, so that a still clip gives the image's map;
    `centre` gives all to frame T // 2 instead, so that every frame gives its own.  Whatever needs
    no time passes as it is, fitting or not.  Raises ValueError if a four-dimensional kernel and
    the expected one differ in more than time.
    """
    inflated = dict(state)
    for name, kernel in state.items():
        shape = tuple(expected_shapes.get(name, ()))
        if len(shape) != 5 or kernel.ndim not in (4, 5):
            continue
        image = kernel.unsqueeze(2) if kernel.ndim == 4 else kernel
        if tuple(image.shape) == (*shape[:2], 1, *shape[3:]):
            inflated[name] = _over_time(image, shape[2], centre)
        elif kernel.ndim == 4:
            raise ValueError(
                f"{name} is {tuple(kernel.shape)} and cannot be inflated to {shape}, which differs "
                "in more than time; load it into a network of the same widths and kernels"
            )
    return inflated


def _over_time(image: Tensor, frames: int, centre: bool) -> Tensor:
    if not centre:
        return image.repeat(1, 1, frames, 1, 1) / frames
    kernel = torch.zeros_like(image).repeat(1, 1, frames, 1, 1)
    kernel[:, :, frames // 2] = image[:, :, 0]
    return kernel
