"""The module that a user holds: one network for clips of any length."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from slowfast.models.flexible.convert import make_frame_flexible
from slowfast.models.flexible.names import rename
from slowfast.models.flexible.rates import Rates


class FrameFlexible(nn.Module):
    """A network for clips of any length; see `make_frame_flexible` for what it does to `net`.

    `net` takes one clip whose dimension `time_dim` is time and whose last two are space.
    `num_frames` are the trained counts, low to high; with `sizes`, sides in pixels, each count is
    trained at each of them.  `tags` are the labels of these `rates.all` in checkpoints (None: the
    rates as text, `4` or `4x112`).  The state dict has the names of `net`, without a prefix.
    Compile this module, not `net`; with two graphs per rate (train, eval), more than 4 rates need a
    `recompile_limit` above 8.
    """

    def __init__(
        self,
        net: nn.Module,
        num_frames: Sequence[int],
        tags: Sequence[str] | None = None,
        alter: bool = True,
        time_dim: int = 2,
        sizes: Sequence[int] = (),
    ) -> None:
        super().__init__()
        self.rates = Rates(tags, num_frames, sizes)
        self.net = make_frame_flexible(net, self.rates, alter)
        self.time_dim = time_dim
        self.register_state_dict_post_hook(_strip_net)
        self.register_load_state_dict_pre_hook(_add_net)

    def forward(self, clips: Tensor | Sequence[Tensor], *also: Any) -> Any:
        """The output for a clip, or a tuple of one output per clip, run in the order given.

        Each runs at the trained rate nearest to its own length and, where sizes are trained, size.
        `also` goes on to `net`.
        """
        if isinstance(clips, (tuple, list)):
            return tuple(self._run(clip, *also) for clip in clips)
        return self._run(clips, *also)

    def tag_of(self, clip: Tensor) -> str:
        """The tag of the rate that runs for `clip`."""
        num_frames = clip.shape[self.time_dim]
        if not self.rates.sizes:  # then nothing has to be like an image
            return self.rates.nearest(num_frames)
        height, width = clip.shape[-2:]
        return self.rates.nearest(num_frames, (height * width) ** 0.5)

    def _run(self, clip: Tensor, *also: Any) -> Any:
        if clip.ndim <= self.time_dim:
            raise ValueError(
                f"clip of shape {tuple(clip.shape)} has no time dimension {self.time_dim}; "
                "a batch of clips is (B, 3, T, H, W)"
            )
        with self.rates.at(self.tag_of(clip)):
            return self.net(clip, *also)

    def extra_repr(self) -> str:
        return repr(self.rates)


def _strip_net(_model: nn.Module, state: dict, prefix: str, _metadata: Any) -> None:
    rename(state, prefix, lambda name: name.removeprefix("net."))


def _add_net(_model: nn.Module, state: dict, prefix: str, *_: Any) -> None:
    rename(state, prefix, lambda name: f"net.{name}")
