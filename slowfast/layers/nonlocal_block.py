"""Non-local blocks: every position of a video sees every other (Wang et al., arXiv:1711.07971)."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from slowfast.layers.conv import Conv3d

INSTANTIATIONS = ("softmax", "dot_product")


class NonLocalBlock(nn.Module):
    """`x + bn(out(attention))` of `(B, dim, T, H, W)`; identity at the start, as bn scales by 0.

    Each position asks with theta what the positions of the max-pooled map answer with phi and g,
    all `dim / 2` wide.  `softmax` weighs by the softmax of theta . phi / sqrt(dim / 2),
    `dot_product` by theta . phi over the number of positions.  `pool` is over time, height and
    width; a map that is smaller in one of them is pooled whole there.  With `groups` the frames
    see only those of their own group, of T / groups neighbours, some one frame longer where
    `groups` does not divide T.  Raises ValueError for an unknown instantiation.
    """

    folds = (("conv_out", "bn"),)

    def __init__(
        self,
        dim: int,
        pool: Sequence[int] = (1, 2, 2),
        groups: int = 1,
        instantiation: str = "softmax",
    ):
        super().__init__()
        if instantiation not in INSTANTIATIONS:
            raise ValueError(
                f"instantiation={instantiation!r} must be {' or '.join(INSTANTIATIONS)}"
            )
        self.pool, self.groups, self.instantiation = tuple(pool), groups, instantiation
        self.conv_theta = Conv3d(dim, dim // 2, 1)
        self.conv_phi = Conv3d(dim, dim // 2, 1)
        self.conv_g = Conv3d(dim, dim // 2, 1)
        self.conv_out = Conv3d(dim // 2, dim, 1)
        self.bn = nn.BatchNorm3d(dim)
        nn.init.zeros_(self.bn.weight)

    def forward(self, x: Tensor) -> Tensor:
        theta = self.conv_theta(x)
        groups = min(self.groups, x.shape[2])
        pairs = zip(theta.tensor_split(groups, 2), x.tensor_split(groups, 2), strict=True)
        attended = torch.cat([self._attend(query, part) for query, part in pairs], dim=2)
        return x + self.bn(self.conv_out(attended))

    def _attend(self, theta: Tensor, x: Tensor) -> Tensor:
        """What the positions of `x` answer to `theta`, in the shape of `theta`."""
        kernel = [min(k, size) for k, size in zip(self.pool, x.shape[2:], strict=True)]
        pooled = F.max_pool3d(x, kernel)
        maps = (theta, self.conv_phi(pooled), self.conv_g(pooled))
        query, key, value = (y.flatten(2).transpose(1, 2) for y in maps)  # (B, positions, dim / 2)
        if self.instantiation == "softmax":
            heads = (y.unsqueeze(1) for y in (query, key, value))
            y = F.scaled_dot_product_attention(*heads).squeeze(1)
        else:  # by associativity without the matrix of all pairs
            y = query @ (key.transpose(1, 2) @ (value / value.shape[1]))
        return y.transpose(1, 2).unflatten(2, theta.shape[2:])

    def extra_repr(self) -> str:
        return f"{self.instantiation}, pool={self.pool}, groups={self.groups}"
