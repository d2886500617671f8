"""Networks of pytorchvideo's builders, from the configuration keys PySlowFast gives them.

State-dict names are pytorchvideo's behind `model.`, as in PySlowFast.
"""

from __future__ import annotations

from math import ceil, floor
from typing import Any

import torch
from torch import Tensor, nn

from slowfast.config import CfgNode, frame_counts, input_size
from slowfast.layers.position import Grid, resize_positions
from slowfast.layers.window_pool import WindowPool, per_position
from slowfast.models import resnet, slowfast
from slowfast.models.bridges.optional import require
from slowfast.models.bridges.positions import separate_positions
from slowfast.models.resnet import PairPool
from slowfast.models.resnet3d import head_window, of_pathway
from slowfast.models.slowfast import slow_indices


class PTVModel(nn.Module):
    """The network of `builder`, a function of a module of `pytorchvideo.models`.

    `options` are the builder's arguments, whose defaults stay.  Takes `(B, 3, T, H, W)`, any
    `T >= 1`, and returns logits `(B, K)`.
    """

    archs: tuple[str, ...]
    depth_order = (r"model\.(?:patch_embed|cls_positional_encoding)", r"model\.blocks\.(\d+)")
    builder: tuple[str, str]
    needs: dict[str, Any] = {}  # what the builder does not ask

    def __init__(self, **options: Any):
        super().__init__()
        module, function = self.builder
        library = require(f"pytorchvideo.models.{module}", type(self).__name__)
        self.model = getattr(library, function)(head_activation=None, **options)

    @classmethod
    def from_cfg(cls, cfg: CfgNode) -> PTVModel:
        """Raises ValueError where the configuration wants what the builder cannot make."""
        for key, value in cls.needs.items():
            section, name = key.split(".")
            if cfg[section][name] != value:
                raise ValueError(
                    f"{key}={cfg[section][name]!r}, but pytorchvideo's builder of {cls.__name__} "
                    f"knows only {value!r}; set that, or take the network without PTV in its name"
                )
        return cls(**cls.options(cfg))

    @classmethod
    def options(cls, cfg: CfgNode) -> dict[str, Any]:
        raise NotImplementedError


class PTVConvNet(PTVModel):
    """Of convolutions.

    See `PathwayHead` for `head_window`, with which evaluation on large crops returns `(B, P, K)`.
    The last norm of every residual block starts at zero, as pytorchvideo has it.
    """

    round_window = staticmethod(floor)

    def __init__(self, head_window: tuple[int, int] | None = None, **options: Any):
        super().__init__(head_output_with_global_average=False, **options)
        for path, layer in list(self.model.named_modules()):
            if isinstance(layer, nn.AvgPool3d):  # only heads average
                self.model.set_submodule(path, WindowPool(head_window))
            elif isinstance(layer, nn.MaxPool3d) and layer.kernel_size == (2, 1, 1):
                self.model.set_submodule(path, PairPool())
            elif isinstance(layer, nn.Conv3d):  # some strides are NumPy's, which do not compile
                layer.stride = tuple(map(int, layer.stride))

    @classmethod
    def options(cls, cfg: CfgNode) -> dict[str, Any]:
        return {
            "head_window": head_window(cfg, cls.round_window(input_size(cfg) / 32)),
            "model_num_class": cfg.MODEL.NUM_CLASSES,
            "dropout_rate": cfg.MODEL.DROPOUT_RATE,
        }

    def forward(self, clip: Tensor) -> Tensor:
        return per_position(self.model(clip))


class PTVX3D(PTVConvNet):
    """X3D.  Against `X3D` the first shortcut has no norm."""

    round_window = staticmethod(ceil)
    archs = ("x3d",)
    builder = ("x3d", "create_x3d")
    needs = {
        "X3D.CHANNELWISE_3x3x3": True,
        "X3D.SCALE_RES2": False,
        "RESNET.STRIDE_1X1": False,
        "MODEL.DROPCONNECT_RATE": 0.0,
    }

    @classmethod
    def options(cls, cfg: CfgNode) -> dict[str, Any]:
        return super().options(cfg) | {
            "width_factor": cfg.X3D.WIDTH_FACTOR,
            "depth_factor": cfg.X3D.DEPTH_FACTOR,
            "bottleneck_factor": cfg.X3D.BOTTLENECK_FACTOR,
            "stem_dim_in": cfg.X3D.DIM_C1,
            "head_dim_out": cfg.X3D.DIM_C5,
            "head_bn_lin5_on": cfg.X3D.BN_LIN5,
            # pytorchvideo's own Swish asks in its backward pass for what torch has deprecated.
            "inner_act": nn.SiLU,
        }


class PTVDeepNet(PTVConvNet):
    """Of RESNET.DEPTH 50 or 101, without non-local blocks."""

    @classmethod
    def options(cls, cfg: CfgNode) -> dict[str, Any]:
        if cfg.RESNET.DEPTH not in (50, 101):
            raise ValueError(f"RESNET.DEPTH={cfg.RESNET.DEPTH}; {cls.__name__} has 50 and 101")
        if any(blocks for stage in cfg.NONLOCAL.LOCATION for blocks in stage):
            raise ValueError(
                f"NONLOCAL.LOCATION={cfg.NONLOCAL.LOCATION}, but {cls.__name__} has no non-local "
                "blocks; empty it, or take the network without PTV in its name"
            )
        return super().options(cfg) | {"model_depth": cfg.RESNET.DEPTH}


class PTVCSN(PTVDeepNet):
    """Channel-separated network (Tran et al. 2019, arXiv:1904.02811)."""

    archs = ("csn",)
    builder = ("csn", "create_csn")

    @classmethod
    def options(cls, cfg: CfgNode) -> dict[str, Any]:
        stem = {"stem_dim_out": cfg.RESNET.WIDTH_PER_GROUP, "stem_pool": nn.MaxPool3d}
        return super().options(cfg) | stem


class PTVR2plus1D(PTVDeepNet):
    """R(2+1)D of bottleneck blocks (Tran et al. 2018, arXiv:1711.11248)."""

    archs = ("r2plus1d",)
    builder = ("r2plus1d", "create_r2plus1d")

    @classmethod
    def options(cls, cfg: CfgNode) -> dict[str, Any]:
        return super().options(cfg) | {"stem_dim_out": cfg.RESNET.WIDTH_PER_GROUP}


class PTVResNet(PTVDeepNet):
    """Slow, C2D or I3D.  All blocks of a stage have its temporal kernels, whatever the depth."""

    archs = ("slow", "c2d", "i3d")
    builder = ("resnet", "create_resnet")
    needs = {"RESNET.TRANS_FUNC": "bottleneck_transform", "RESNET.STRIDE_1X1": False}

    @classmethod
    def options(cls, cfg: CfgNode) -> dict[str, Any]:
        arch = cfg.MODEL.ARCH or cls.archs[0]
        (stem,), *cycles = resnet.TEMPORAL_KERNELS[arch]
        strides = [of_pathway(stage, 0) for stage in cfg.RESNET.SPATIAL_STRIDES]
        return super().options(cfg) | {
            "stem_dim_out": cfg.RESNET.WIDTH_PER_GROUP,
            "stem_conv_kernel_size": (stem, 7, 7),
            "stage1_pool": nn.MaxPool3d if arch in resnet.HALVES_TIME else None,
            "stage_conv_a_kernel_size": [[(k, 1, 1) for k in cycle] for cycle in cycles],
            "stage_conv_b_num_groups": [cfg.RESNET.NUM_GROUPS] * 4,
            "stage_conv_b_dilation": _dilations(cfg, 0),
            "stage_spatial_h_stride": strides,
            "stage_spatial_w_stride": strides,
        }


class PTVSlowFast(PTVDeepNet):
    """SlowFast; it picks the frames of the slow pathway itself, as `SlowFast` does.

    All blocks of a stage have its temporal kernel, whatever the depth.
    """

    archs = ("slowfast",)
    builder = ("slowfast", "create_slowfast")
    needs = PTVResNet.needs

    def __init__(
        self,
        head_window: tuple[int, int] | None = None,
        slowfast_fusion_conv_stride: tuple[int, int, int] = (4, 1, 1),
        **options: Any,
    ):
        stride = slowfast_fusion_conv_stride
        super().__init__(head_window, slowfast_fusion_conv_stride=stride, **options)
        self.alpha = stride[0]

    @classmethod
    def options(cls, cfg: CfgNode) -> dict[str, Any]:
        node, width = cfg.SLOWFAST, cfg.RESNET.WIDTH_PER_GROUP
        stem, *stages = slowfast.TEMPORAL_KERNELS
        return super().options(cfg) | {
            "slowfast_channel_reduction_ratio": node.BETA_INV,
            "slowfast_conv_channel_fusion_ratio": node.FUSION_CONV_CHANNEL_RATIO,
            "slowfast_fusion_conv_kernel_size": (node.FUSION_KERNEL_SZ, 1, 1),
            "slowfast_fusion_conv_stride": (node.ALPHA, 1, 1),
            "stem_dim_outs": (width, width // node.BETA_INV),
            "stem_conv_kernel_sizes": [(k, 7, 7) for k in stem],
            "stage_conv_a_kernel_sizes": [[(s[p], 1, 1) for s in stages] for p in range(2)],
            "stage_conv_b_num_groups": [[cfg.RESNET.NUM_GROUPS] * 4] * 2,
            "stage_conv_b_dilations": [_dilations(cfg, p) for p in range(2)],
            "stage_spatial_strides": [
                [of_pathway(stage, p) for stage in cfg.RESNET.SPATIAL_STRIDES] for p in range(2)
            ],
        }

    def forward(self, clip: Tensor) -> Tensor:
        slow = slow_indices(clip.shape[2], self.alpha).to(clip.device)
        return per_position(self.model([clip.index_select(2, slow), clip]))


def _dilations(cfg: CfgNode, pathway: int) -> list[tuple[int, int, int]]:
    spatial = [of_pathway(stage, pathway) for stage in cfg.RESNET.SPATIAL_DILATIONS]
    return [(1, dilation, dilation) for dilation in spatial]


class PTVMViT(PTVModel):
    """MViT; embeddings of positions are resized to clips of other lengths and sizes."""

    archs = ("mvit",)
    builder = ("vision_transformers", "create_multiscale_vision_transformers")
    needs = {
        "MVIT.PATCH_2D": False,
        "MVIT.DIM_MUL_IN_ATT": False,
        "MVIT.RESIDUAL_POOLING": False,
        "MVIT.USE_ABS_POS": True,
        "MVIT.USE_FIXED_SINCOS_POS": False,
        "MVIT.USE_MEAN_POOLING": False,
        "MVIT.REL_POS_SPATIAL": False,
        "MVIT.REL_POS_TEMPORAL": False,
    }

    @classmethod
    def options(cls, cfg: CfgNode) -> dict[str, Any]:
        node = cfg.MVIT
        return {
            "spatial_size": input_size(cfg),
            "temporal_size": frame_counts(cfg)[-1],
            "cls_embed_on": node.CLS_EMBED_ON,
            "sep_pos_embed": node.SEP_POS_EMBED,
            "depth": node.DEPTH,
            "patch_embed_dim": node.EMBED_DIM,
            "conv_patch_embed_kernel": tuple(node.PATCH_KERNEL),
            "conv_patch_embed_stride": tuple(node.PATCH_STRIDE),
            "conv_patch_embed_padding": tuple(node.PATCH_PADDING),
            "enable_patch_embed_norm": node.NORM_STEM,
            "num_heads": node.NUM_HEADS,
            "mlp_ratio": node.MLP_RATIO,
            "qkv_bias": node.QKV_BIAS,
            "dropout_rate_block": node.DROPOUT_RATE,
            "droppath_rate_block": node.DROPPATH_RATE,
            "pooling_mode": node.MODE,
            "pool_first": node.POOL_FIRST,
            "embed_dim_mul": node.DIM_MUL,
            "atten_head_mul": node.HEAD_MUL,
            "pool_q_stride_size": node.POOL_Q_STRIDE or None,
            "pool_kv_stride_size": node.POOL_KV_STRIDE or None,
            "pool_kv_stride_adaptive": node.POOL_KV_STRIDE_ADAPTIVE,
            "pool_kvq_kernel": node.POOL_KVQ_KERNEL,
            "head_dropout_rate": cfg.MODEL.DROPOUT_RATE,
            "head_num_classes": cfg.MODEL.NUM_CLASSES,
        }

    def forward(self, clip: Tensor) -> Tensor:
        """pytorchvideo's own knows the one grid of tokens that the network was built for."""
        net = self.model
        x = net.patch_embed.patch_model(clip)
        grid = tuple(x.shape[2:])
        x = _with_positions(net.cls_positional_encoding, x.flatten(2).transpose(1, 2), grid)
        for layer in (net.pos_drop, net.norm_patch_embed):
            x = x if layer is None else layer(x)
        for block in net.blocks:
            x, grid = block(x, grid)
        return net.head(net.norm_embed(x))


def _with_positions(encoding: nn.Module, x: Tensor, grid: Grid) -> Tensor:
    learned, num_class = encoding.patch_embed_shape, int(encoding.cls_embed_on)
    if encoding.sep_pos_embed:
        space, time = encoding.pos_embed_spatial, encoding.pos_embed_temporal
        positions = separate_positions(space, time, learned, grid)
        of_class = encoding.pos_embed_class if num_class else None
    else:
        positions = resize_positions(encoding.pos_embed[:, num_class:], learned, grid)
        of_class = encoding.pos_embed[:, :num_class]
    x = x + positions
    if not num_class:
        return x
    token = (encoding.cls_token + of_class).expand(len(x), -1, -1)
    return torch.cat([token, x], dim=1)
