"""The network as an ONNX file, written node by node from its weights, so that equal weights are equal bytes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from training.net import BASE_MARGIN, BODY, MARGIN, Doubler

OPSET = 17
IR_VERSION = 8


def export(net: Doubler, path: Path) -> None:
    """luma (1, 1, height, width) float32 in 0..1 -> enlarged (1, 1, 2 height, 2 width); the edge is repeated inside."""
    weights: list[onnx.TensorProto] = []
    nodes: list[onnx.NodeProto] = []

    def constant(name: str, value: np.ndarray) -> str:
        weights.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def node(kind: str, inputs: list[str], output: str, **attributes: object) -> str:
        nodes.append(helper.make_node(kind, inputs, [output], name=output, **attributes))
        return output

    def convolved(name: str, source: str, conv: object) -> str:
        kernel = constant(f"{name}.weight", conv.weight.detach().numpy())
        bias = constant(f"{name}.bias", conv.bias.detach().numpy())
        return node("Conv", [source, kernel, bias], name)

    def cut(name: str, source: str, margin: int) -> str:
        starts = constant(f"{name}.starts", np.array([margin, margin], np.int64))
        ends = constant(f"{name}.ends", np.array([-margin, -margin], np.int64))
        axes = constant(f"{name}.axes", np.array([2, 3], np.int64))
        return node("Slice", [source, starts, ends, axes], name)

    pads = constant("pads", np.array([0, 0, MARGIN, MARGIN] * 2, np.int64))
    padded = node("Pad", ["luma", pads], "padded", mode="edge")
    first = node("Relu", [convolved("head", padded, net.head)], "head.relu")
    features = first
    for index, conv in enumerate(net.body):
        features = node("Relu", [convolved(f"body{index}", features, conv)], f"body{index}.relu")
    joined = node("Add", [features, cut("skip", first, BODY)], "joined")
    base_kernel = constant("base.weight", net.base.numpy())
    base = node("Conv", [cut("centre", padded, MARGIN - BASE_MARGIN), base_kernel], "base")
    quarters = node("Add", [base, convolved("tail", joined, net.tail)], "quarters")
    node("DepthToSpace", [quarters], "enlarged", blocksize=2, mode="CRD")

    sides = {"luma": ["height", "width"], "enlarged": ["height2", "width2"]}
    infos = {
        name: helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 1, *dims]) for name, dims in sides.items()
    }
    graph = helper.make_graph(nodes, "doubler", [infos["luma"]], [infos["enlarged"]], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="training")
    model.ir_version = IR_VERSION
    onnx.checker.check_model(model, full_check=True)
    path.write_bytes(model.SerializeToString(deterministic=True))
