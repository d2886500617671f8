"""Graphs of frames give what the graphs of clips gave."""

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

from onnx import helper, numpy_helper  # noqa: E402

from slowfast.inference.export.layout import over_frames  # noqa: E402

C, T, S = 4, 5, 6
RNG = np.random.default_rng(0)


def weights(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


def conv(source, out, weight, bias=False, **how):
    """A Conv node with its constants."""
    constants = {f"{out}_w": weight}
    if bias:
        constants[f"{out}_b"] = weights(len(weight))
    node = helper.make_node("Conv", [source, *constants], [out], **how)
    return [node], constants


def model_of(nodes, constants, out="y"):
    real = onnx.TensorProto.FLOAT
    graph = helper.make_graph(
        nodes,
        "clip",
        [helper.make_tensor_value_info("x", real, ["batch", C, T, S, S])],
        [helper.make_tensor_value_info(out, real, None)],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    opsets = [helper.make_opsetid("", 20)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    return onnx.shape_inference.infer_shapes(model)


def run(model, clips):
    return onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"x": clips})[0]


def assert_same(nodes, constants, absent=("Conv",)):
    """Equal outputs for one and three clips, and no 3D operator of the kinds `absent` is left."""
    model = model_of(nodes, constants)
    batches = [weights(count, C, T, S, S) for count in (1, 3)]
    expected = [run(model, clips) for clips in batches]
    changed = over_frames(model)
    onnx.checker.check_model(changed)
    for clips, y in zip(batches, expected, strict=True):
        np.testing.assert_allclose(run(changed, clips), y, rtol=1e-4, atol=1e-4)
    for node in changed.graph.node:
        kernels = [a.ints for a in node.attribute if a.name == "kernel_shape"]
        assert node.op_type not in absent or all(len(kernel) == 2 for kernel in kernels)


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("depthwise", [False, True])
@pytest.mark.parametrize(
    ("kernel", "how"),
    [
        ((1, 3, 3), {"pads": [0, 1, 1, 0, 1, 1]}),
        ((1, 3, 3), {"pads": [0, 1, 0, 0, 0, 1], "strides": [1, 2, 2]}),
        ((3, 1, 1), {"pads": [1, 0, 0, 1, 0, 0]}),
        ((3, 3, 3), {"pads": [1, 1, 1, 1, 1, 1], "strides": [1, 2, 2]}),
        ((3, 3, 3), {}),
        ((5, 1, 1), {"pads": [2, 0, 0, 2, 0, 0], "strides": [2, 1, 1]}),
        ((3, 1, 1), {"pads": [4, 0, 0, 4, 0, 0], "dilations": [4, 1, 1]}),
        ((1, 1, 1), {"strides": [3, 1, 1]}),
    ],
)
def test_a_convolution_of_frames_gives_that_of_the_clip(kernel, how, depthwise, bias):
    shape = (C, 1, *kernel) if depthwise else (6, C, *kernel)
    groups = {"group": C} if depthwise else {}
    assert_same(*conv("x", "y", weights(*shape), bias, kernel_shape=kernel, **groups, **how))


def test_a_residual_block_stays_in_frames_from_end_to_end():
    first, constants = conv("x", "a", weights(C, C, 3, 1, 1), pads=[1, 0, 0, 1, 0, 0])
    second, more = conv("r", "b", weights(C, C, 1, 3, 3), pads=[0, 1, 1, 0, 1, 1])
    nodes = [
        *first,
        helper.make_node("Relu", ["a"], ["r"]),
        *second,
        helper.make_node("Add", ["b", "r"], ["s"]),
        helper.make_node("Concat", ["s", "b"], ["c"], axis=1),
        helper.make_node(
            "MaxPool", ["c"], ["y"], kernel_shape=[1, 2, 2], strides=[1, 2, 2], pads=[0] * 6
        ),
    ]
    assert_same(nodes, constants | more, absent=("Conv", "MaxPool"))
    changed = over_frames(model_of(nodes, constants | more))
    turned = [node for node in changed.graph.node if node.op_type == "Transpose"]
    assert len(turned) == 2  # in and out


def test_a_gate_per_channel_scales_every_frame():
    first, constants = conv("x", "a", weights(C, C, 1, 1, 1))
    nodes = [
        *first,
        helper.make_node("ReduceMean", ["a", "axes"], ["m"], keepdims=1),
        helper.make_node("Sigmoid", ["m"], ["g"]),
        helper.make_node("Mul", ["g", "a"], ["z"]),
        helper.make_node("Add", ["z", "shift"], ["y"]),
    ]
    constants |= {"axes": np.array([2, 3, 4], np.int64), "shift": weights(1, C, 1, 1, 1)}
    assert_same(nodes, constants)


def test_a_constant_clip_is_added_to_every_video():
    first, constants = conv("x", "a", weights(C, C, 1, 1, 1))
    nodes = [*first, helper.make_node("Add", ["a", "positions"], ["y"])]
    assert_same(nodes, constants | {"positions": weights(1, C, T, S, S)})


@pytest.mark.parametrize("kind", ["MaxPool", "AveragePool"])
def test_a_pool_over_time_gets_the_clip_back(kind):
    first, constants = conv("x", "a", weights(C, C, 1, 1, 1))
    pool = helper.make_node(kind, ["a"], ["y"], kernel_shape=[2, 2, 2], strides=[2, 2, 2])
    assert_same([*first, pool], constants)


def test_grouped_convolutions_over_time_stay_as_they_are():
    first, constants = conv("x", "a", weights(C, C, 1, 1, 1))
    second, more = conv("a", "y", weights(C, 2, 3, 1, 1), pads=[1, 0, 0, 1, 0, 0], group=2)
    assert_same([*first, *second], constants | more, absent=())
