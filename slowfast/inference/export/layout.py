"""Networks of clips as graphs of frames: 2D operators in the place of 3D ones.

ONNX Runtime has fast, blocked kernels for convolutions of images only.  A clip `(N, C, T, H, W)` is
kept as its frames `(N*T, C, H, W)` from layer to layer:

    kernel (1, k, k)   a convolution of every frame
    kernel (t, k, k)   the frames of all t taps side by side as channels, then the same
    ... of depthwise   a convolution per tap, then the sum of the taps, each shifted in time

What has no form for frames gets the clip back.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    import onnx

POINTWISE = ("Relu", "Sigmoid", "Gelu", "Erf", "Clip", "HardSwish", "HardSigmoid", "Tanh", "Neg")
PAIRS = ("Add", "Sub", "Mul")


class Frames(NamedTuple):
    """The name of a value's frames `(N*T, C, H, W)` and the shape of its clip after N."""

    name: str
    channels: int
    num_frames: int
    height: int
    width: int


def over_frames(model: onnx.ModelProto) -> onnx.ModelProto:
    """`model` with convolutions, pools and what is between them on frames; its outputs are equal.

    Only the first dimension of its values may be unknown.
    """
    return _Rewriter(model).run()


class _Rewriter:
    def __init__(self, model: onnx.ModelProto) -> None:
        from onnx import numpy_helper

        self.model = model
        graph = model.graph
        self.constants = {tensor.name: tensor for tensor in graph.initializer}
        self.array = lambda name: numpy_helper.to_array(self.constants[name])
        values = (*graph.input, *graph.value_info, *graph.output)
        self.shapes = {value.name: _dims(value) for value in values}
        self.shapes |= {name: tuple(tensor.dims) for name, tensor in self.constants.items()}
        self.frames: dict[str, Frames] = {}
        self.clips: set[str] = {value.name for value in graph.input} | set(self.constants)
        self.nodes: list[onnx.NodeProto] = []
        self.count = 0

    def run(self) -> onnx.ModelProto:
        graph = self.model.graph
        for node in list(graph.node):
            if not self._in_frames(node):
                for name in node.input:
                    self._clip(name)
                self.nodes.append(node)
                self.clips.update(node.output)
        for value in graph.output:
            self._clip(value.name)
        del graph.node[:], graph.value_info[:]
        graph.node.extend(self.nodes)
        used = {name for node in self.nodes for name in node.input}
        kept = [tensor for tensor in self.constants.values() if tensor.name in used]
        del graph.initializer[:]
        graph.initializer.extend(kept)
        return self.model

    # ------------------------------------------------------------------ what nodes become

    def _in_frames(self, node: onnx.NodeProto) -> bool:
        """Whether `node` was written for frames."""
        if len(node.output) != 1 or len(self.shapes.get(node.output[0], ())) != 5:
            return False
        attributes = {a.name: _value(a) for a in node.attribute}
        kind = node.op_type
        if kind == "Conv":
            return self._convolution(node, attributes)
        if kind in ("MaxPool", "AveragePool"):
            return self._pool(node, attributes)
        if kind == "Concat" and attributes["axis"] == 1 or kind in PAIRS:
            return self._join(node, attributes)
        is_known = all(name in self.constants for name in node.input[1:] if name)
        if kind in POINTWISE and is_known and node.input[0] in self.frames:
            source = self.frames[node.input[0]]
            self._take_over(node, [source.name, *node.input[1:]], source, attributes)
            return True
        return False

    def _convolution(self, node: onnx.NodeProto, attributes: dict[str, Any]) -> bool:
        weight, groups = self.array(node.input[1]), attributes.get("group", 1)
        x, y = (self.shapes[name] for name in (node.input[0], node.output[0]))
        is_depthwise = groups == x[1] and weight.shape[1] == 1
        if groups > 1 and not is_depthwise and weight.shape[2] > 1:
            return False
        time, stride = weight.shape[2], attributes.get("strides", [1, 1, 1])[0]
        step = attributes.get("dilations", [1, 1, 1])[0]
        pads = attributes.get("pads", [0] * 6)
        plane = {"group": groups, "kernel_shape": list(weight.shape[3:])}
        plane |= {
            name: attributes[name][1:] for name in ("strides", "dilations") if name in attributes
        }
        plane["pads"] = [*pads[1:3], *pads[4:6]]
        source = self._of(node.input[0])
        bias = list(node.input[2:])
        # seen[t] are the frames that the taps of output frame t see, T for one outside the clip
        seen = np.arange(y[2])[:, None] * stride - pads[0] + np.arange(time) * step
        seen = np.where((seen < 0) | (seen >= x[2]), x[2], seen)
        taps = [i for i in range(time) if (seen[:, i] < x[2]).any()]
        seen, weight = seen[:, taps], weight[:, :, taps]
        if is_depthwise and len(taps) > 1:
            out = self._tap_by_tap(source, seen, weight, bias, plane, y)
        else:
            gathered = self._gather(source, seen)
            name = self._constant(weight.swapaxes(1, 2).reshape(len(weight), -1, *weight.shape[3:]))
            out = self._emit("Conv", [gathered, name, *bias], **plane)
        self.frames[node.output[0]] = Frames(out, *y[1:])
        return True

    def _gather(self, source: Frames, seen: np.ndarray) -> str:
        """Frames with the channels of all that each output frame sees, `seen` (T', taps)."""
        outputs, taps = seen.shape
        count = source.num_frames
        if taps == 1 and np.array_equal(seen[:, 0], np.arange(count)):
            return source.name
        videos = self._videos(source)
        if (seen == count).any():  # one frame of zeros behind the last
            pads = self._constant(np.array([0] * 6 + [1] + [0] * 3, np.int64))
            videos = self._emit("Pad", [videos, pads], mode="constant")
        found = self._emit("Gather", [videos, self._constant(seen.astype(np.int64))], axis=1)
        shape = [-1, taps * source.channels, source.height, source.width]
        return self._reshape(found, shape)

    def _tap_by_tap(
        self,
        source: Frames,
        seen: np.ndarray,
        weight: np.ndarray,
        bias: list[str],
        plane: dict[str, Any],
        y: tuple[int, ...],
    ) -> str:
        """A depthwise convolution per tap; their sum has a shift in time."""
        total = None
        # The tap that sees the most frames brings the bias.
        order = sorted(range(seen.shape[1]), key=lambda i: (seen[:, i] == source.num_frames).sum())
        for rank, i in enumerate(order):
            inputs = [self._gather(source, seen[:, i : i + 1]), self._constant(weight[:, :, i])]
            tap = self._emit("Conv", [*inputs, *(bias if rank == 0 else [])], **plane)
            total = tap if total is None else self._emit("Add", [total, tap])
        return total

    def _pool(self, node: onnx.NodeProto, attributes: dict[str, Any]) -> bool:
        pads = attributes.get("pads", [0] * 6)
        strides = attributes.get("strides", [1, 1, 1])
        kernel = attributes["kernel_shape"]
        if (kernel[0], strides[0], pads[0], pads[3]) != (1, 1, 0, 0):
            return False
        plane = attributes | {
            "kernel_shape": kernel[1:],
            "strides": strides[1:],
            "pads": [*pads[1:3], *pads[4:6]],
        }
        if "dilations" in attributes:
            plane["dilations"] = attributes["dilations"][1:]
        out = self._emit(node.op_type, [self._of(node.input[0]).name], **plane)
        self.frames[node.output[0]] = Frames(out, *self.shapes[node.output[0]][1:])
        return True

    def _join(self, node: onnx.NodeProto, attributes: dict[str, Any]) -> bool:
        """A sum, product or concatenation of clips of one length."""
        shapes = [self.shapes.get(name, ()) for name in node.input]
        if not any(name in self.frames for name in node.input):
            return False
        if node.op_type in PAIRS and len(set(shape[1:] for shape in shapes)) > 1:
            return self._scaled(node, shapes)
        # A constant is one clip for all videos, whose frames do not go with those of a batch.
        if any(len(s) != 5 or s[2:] != shapes[0][2:] or s[0] != shapes[0][0] for s in shapes):
            return False
        sources = [self._of(name) for name in node.input]
        shape = self.shapes[node.output[0]]
        self._take_over(node, [s.name for s in sources], Frames("", *shape[1:]), attributes)
        return True

    def _scaled(self, node: onnx.NodeProto, shapes: list[tuple[int, ...]]) -> bool:
        """A clip and one number for all of a channel, per video (N, C, 1, 1, 1) or for all."""
        clip, other = sorted(node.input, key=lambda name: name not in self.frames)
        shape = self.shapes.get(other, ())
        source = self.frames[clip]
        if len(shape) != 5 or shape[1] != source.channels or shape[2:] != (1, 1, 1):
            return False
        if node.op_type == "Sub" and node.input[0] != clip:
            return False
        videos, gate = self._videos(source), self._clip(other)
        gate = self._emit("Transpose", [gate], perm=[0, 2, 1, 3, 4])
        scaled = self._emit(node.op_type, [videos, gate])
        out = self._reshape(scaled, [-1, source.channels, source.height, source.width])
        self.frames[node.output[0]] = source._replace(name=out)
        return True

    def _take_over(
        self, node: onnx.NodeProto, inputs: list[str], like: Frames, attributes: dict[str, Any]
    ) -> None:
        out = self._emit(node.op_type, inputs, **attributes)
        self.frames[node.output[0]] = like._replace(name=out)

    # ------------------------------------------------------------------ clips and frames

    def _of(self, name: str) -> Frames:
        """The frames of a value, made from its clip if need be."""
        if name not in self.frames:
            channels, *rest = self.shapes[name][1:]
            self._clip(name)
            turned = self._emit("Transpose", [name], perm=[0, 2, 1, 3, 4])
            flat = self._reshape(turned, [-1, channels, *rest[1:]])
            self.frames[name] = Frames(flat, channels, *rest)
        return self.frames[name]

    def _videos(self, source: Frames) -> str:
        """Frames as `(N, T, C, H, W)`."""
        _, channels, num_frames, *plane = source
        return self._reshape(source.name, [-1, num_frames, channels, *plane])

    def _clip(self, name: str) -> str:
        """Writes the clip `name` where only its frames are there."""
        if name in self.frames and name not in self.clips:
            videos = self._videos(self.frames[name])
            self._emit("Transpose", [videos], name, perm=[0, 2, 1, 3, 4])
            self.clips.add(name)
        return name

    # ------------------------------------------------------------------ writing

    def _emit(self, kind: str, inputs: list[str], output: str = "", **attributes: Any) -> str:
        from onnx import helper

        output = output or self._new()
        self.nodes.append(helper.make_node(kind, inputs, [output], name=output, **attributes))
        return output

    def _reshape(self, name: str, shape: list[int]) -> str:
        return self._emit("Reshape", [name, self._constant(np.array(shape, np.int64))])

    def _constant(self, array: np.ndarray) -> str:
        from onnx import numpy_helper

        name = self._new()
        self.constants[name] = numpy_helper.from_array(np.ascontiguousarray(array), name)
        return name

    def _new(self) -> str:
        self.count += 1
        return f"frames_{self.count}"


def _dims(value: onnx.ValueInfoProto) -> tuple[int, ...]:
    """Its shape, 0 where a dimension is not known."""
    return tuple(dim.dim_value for dim in value.type.tensor_type.shape.dim)


def _value(attribute: onnx.AttributeProto) -> Any:
    from onnx import helper

    value = helper.get_attribute_value(attribute)
    return (
        list(value)
        if isinstance(value, (list, tuple))
        or hasattr(value, "__len__")
        and not isinstance(value, (str, bytes))
        else value
    )
