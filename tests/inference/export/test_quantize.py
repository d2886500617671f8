"""Which products of a network are computed in 8 bits."""

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

from onnx import helper, numpy_helper  # noqa: E402

from slowfast.inference.export import quantize  # noqa: E402

TOKENS, WIDTH = 2048, 8


def attention(path):
    """softmax(x Wᵀx) x of many tokens: their weights are far below 1 / 256."""
    weight = np.eye(WIDTH, dtype=np.float32) / WIDTH
    nodes = [
        helper.make_node("MatMul", ["clip", "weight"], ["query"], name="project"),
        helper.make_node("Transpose", ["clip"], ["keys"], perm=[0, 2, 1]),
        helper.make_node("MatMul", ["query", "keys"], ["affinity"], name="compare"),
        helper.make_node("Softmax", ["affinity"], ["share"], axis=-1),
        helper.make_node("MatMul", ["share", "clip"], ["logits"], name="gather"),
    ]
    real, shape = onnx.TensorProto.FLOAT, [1, TOKENS, WIDTH]
    values = [helper.make_tensor_value_info(name, real, shape) for name in ("clip", "logits")]
    graph = helper.make_graph(
        nodes, "attention", values[:1], values[1:], [numpy_helper.from_array(weight, "weight")]
    )
    opsets = [helper.make_opsetid("", 20)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=10), path)


def test_the_weights_of_many_tokens_are_not_rounded_to_zero(tmp_path):
    source, target = tmp_path / "attention.onnx", tmp_path / "attention.int8.onnx"
    attention(source)
    tokens = 1 + np.random.default_rng(0).random((1, TOKENS, WIDTH), np.float32)
    quantize(source, target, [tokens])
    nodes = onnx.load(target).graph.node
    rounded = {node.input[0] for node in nodes if node.op_type == "QuantizeLinear"}
    assert "query" in rounded and not rounded & {"affinity", "share"}
    runs = [onnxruntime.InferenceSession(path) for path in (source, target)]
    expected, found = (run.run(None, {"clip": tokens})[0] for run in runs)
    np.testing.assert_allclose(found, expected, rtol=0.02)
