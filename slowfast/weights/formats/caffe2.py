"""The Caffe2 models of PySlowFast's zoo: C2D, I3D, Slow and SlowFast, also with non-local blocks.

res2_0_branch2a_w                   s2.pathway0_res0.branch2.a.weight
t_res2_0_branch2a_bn_riv            s2.pathway1_res0.branch2.a_bn.running_var
t_res4_5_branch2c_bn_subsample_w    s4_fuse.conv_f2s.weight
"""

from __future__ import annotations

from collections.abc import Mapping

from slowfast.weights.formats.base import FORMATS, Format, Rules, Shape, State, renamed, rewrite

# First the place, then the kind of tensor.
_RULES: Rules = (
    # lateral connections, named after the last block of the fast stage that they leave
    (r"^t_pool1_subsample_bn_", "s1_fuse.bn."),
    (r"^t_pool1_subsample_", "s1_fuse.conv_f2s."),
    (r"^t_res(\d)_\d+_branch2c_bn_subsample_bn_", r"s\1_fuse.bn."),
    (r"^t_res(\d)_\d+_branch2c_bn_subsample_", r"s\1_fuse.conv_f2s."),
    # non-local blocks
    (r"^nonlocal_conv(\d)_(\d+)_bn_", r"s\1.pathway0_nonlocal\2.bn."),
    (r"^nonlocal_conv(\d)_(\d+)_(theta|phi|g|out)_", r"s\1.pathway0_nonlocal\2.conv_\3."),
    # stems and residual blocks of both pathways
    (r"^t_(?=res|conv)", "pathway1 "),
    (r"^(?=res|conv1_)", "pathway0 "),
    (r"^(pathway\d) res_conv1_bn_", r"s1.\1_stem.bn."),
    (r"^(pathway\d) conv1(_xy)?_", r"s1.\1_stem.conv\2."),
    (r"^(pathway\d) res(\d)_(\d+)_branch2b_bn_(fc\d)_", r"s\2.\1_res\3.branch2.se.\4."),
    (r"^(pathway\d) res(\d)_(\d+)_branch2([abc])(_bn)?_", r"s\2.\1_res\3.branch2.\4\5."),
    (r"^(pathway\d) res(\d)_(\d+)_branch1(_bn)?_", r"s\2.\1_res\3.branch1\4."),
    # heads
    (r"^pred_", "head.projection."),
    (r"^(conv_5|lin_5)(_bn)?_", r"head.\1\2."),
    # tensors
    (r"\.[ws]$", ".weight"),
    (r"\.b$", ".bias"),
    (r"\.rm$", ".running_mean"),
    (r"\.riv$", ".running_var"),
)


def caffe2_name(blob: str) -> str:
    """Our name of a Caffe2 blob; one that no rule knows keeps its own."""
    return rewrite(blob, _RULES)


def _rename(state: State, expected: Mapping[str, Shape]) -> State:
    """Caffe2 stores a 1x1x1 convolution like a matrix: axes of size one are put behind it."""
    state = renamed(state, caffe2_name)
    for name, tensor in state.items():
        shape = expected.get(name, ())
        if tuple(tensor.shape) == shape[: tensor.ndim] and set(shape[tensor.ndim :]) == {1}:
            state[name] = tensor.reshape(shape)
    return state


def _of_the_solver(blob: str) -> bool:
    return blob in ("lr", "model_iter") or blob.endswith("_momentum")


FORMATS.register("caffe2")(
    Format(
        contents="Caffe2 models of PySlowFast's zoo (.pkl)",
        models="ResNet, SlowFast or X3D",
        recognises=lambda state: "conv1_w" in state and not any("." in name for name in state),
        rename=_rename,
        ignores=_of_the_solver,
    )
)
