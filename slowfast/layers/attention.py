"""Self-attention over tokens and the MLP beside it."""

import torch.nn.functional as F
from torch import Tensor, nn


class Attention(nn.Module):
    """Multi-head self-attention of `(B, N, dim)` tokens, `dim / head_dim` heads.

    Scores are scaled by `head_dim ** -0.5`.  Raises ValueError if the heads do not divide `dim`.
    """

    def __init__(
        self,
        dim: int,
        head_dim: int = 64,
        qkv_bias: bool = True,
        dropout: float = 0.0,
        attention_dropout: float = 0.0,
    ):
        super().__init__()
        if dim % head_dim:
            raise ValueError(f"dim={dim} must be a multiple of head_dim={head_dim}")
        self.num_heads = dim // head_dim
        self.attention_dropout = attention_dropout
        self.qkv = nn.Linear(dim, 3 * dim, bias=qkv_bias)
        self.proj = nn.Linear(dim, dim)
        self.proj_drop = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        qkv = self.qkv(x).unflatten(2, (3, self.num_heads, -1))
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # each (B, heads, N, head_dim)
        dropout = self.attention_dropout if self.training else 0.0
        y = F.scaled_dot_product_attention(q, k, v, dropout_p=dropout)
        return self.proj_drop(self.proj(y.transpose(1, 2).flatten(2)))


class Mlp(nn.Module):
    """Two layers with a GELU between, `dim` to `hidden` and back, or to `dim_out`.

    `layer(dim_in, dim_out)` makes one: `nn.Linear`, or a 1x1x1 convolution for maps.
    """

    def __init__(
        self,
        dim: int,
        hidden: int,
        dropout: float = 0.0,
        layer=nn.Linear,
        dim_out: int | None = None,
    ):
        super().__init__()
        self.fc1 = layer(dim, hidden)
        self.act = nn.GELU()
        self.fc2 = layer(hidden, dim if dim_out is None else dim_out)
        self.drop = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        return self.drop(self.fc2(self.drop(self.act(self.fc1(x)))))
