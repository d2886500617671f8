"""The size of PySlowFast's MViT networks of which no logits are recorded, at 64 pixels."""

import pytest
import torch

from helpers.source import ROOT
from slowfast.config import load_cfg
from slowfast.models import MViT, build_model

PATCHES = {"patch_kernel": (7, 7), "patch_stride": (4, 4), "patch_padding": (3, 3)}
IMAGES = {
    "num_classes": 1000,
    "num_frames": 1,
    "patch_2d": True,
    "pool_kernel": (1, 3, 3),
} | PATCHES


def schedule(depth: int, *blocks: int) -> dict:
    """Widths and heads double and the grid halves in `blocks`."""
    twice = [(i, 2.0) for i in blocks]
    strides = [(i, 1, 2, 2) if i in blocks else (i, 1, 1, 1) for i in range(depth)]
    return {"depth": depth, "dim_mul": twice, "head_mul": twice, "pool_q_stride": strides}


NETWORKS = {
    "MViT-B for images": (
        schedule(16, 1, 3, 14)
        | IMAGES
        | {"pool_kv_stride_adaptive": (1, 4, 4)}
        | {"pool_q_stride": [(i, 1, 2, 2) for i in (1, 3, 14)]},
        (36_706_120, 311),
    ),
    "MViTv2-T for images": (
        schedule(10, 1, 3, 8)
        | IMAGES
        | {"pool_kv_stride": [(i, 1, *[(4, 2, 2)[i] if i < 3 else 1] * 2) for i in range(10)]}
        | {"dim_mul_in_att": True, "residual_pooling": True, "rel_pos_spatial": True}
        | {"use_abs_pos": False, "class_token": False},
        (24_113_800, 242),
    ),
    "ViT-B for videos": (
        {"patch_kernel": (2, 16, 16), "patch_stride": (2, 16, 16), "patch_padding": (0, 0, 0)}
        | {"depth": 12, "dim": 768, "num_heads": 12, "sep_pos_embed": True, "mean_pooling": True},
        (86_563_984, 154),
    ),
}
YAMLS = {
    "Kinetics/MVIT_B_32x3_CONV": (52_838_800, 439),
    "Kinetics/MVITv2_B_32x3": (51_107_248, 589),
}


def size_of(net: torch.nn.Module) -> tuple[int, int]:
    return sum(parameter.numel() for parameter in net.parameters()), len(net.state_dict())


@pytest.mark.parametrize("name", YAMLS)
def test_a_yaml_makes_a_network_of_the_published_size(name):
    crops = ["DATA.TRAIN_CROP_SIZE", 64, "DATA.TEST_CROP_SIZE", 64]
    with torch.device("meta"):
        net = build_model(load_cfg(ROOT / f"configs/{name}.yaml", crops))
    assert size_of(net) == YAMLS[name]


@pytest.mark.parametrize("name", NETWORKS)
def test_other_members_of_the_family_have_their_published_size(name):
    options, size = NETWORKS[name]
    with torch.device("meta"):
        assert size_of(MViT(crop_size=64, **options)) == size
