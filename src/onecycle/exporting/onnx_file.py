"""ONNX (extra `export`): written by PyTorch, run by onnxruntime."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch.export import ExportedProgram

from ..data import ImageSet, stratified_split
from ..errors import UserError
from .deployed import INPUT, OUTPUT, quiet

CALIBRATION_IMAGES: Final = 512
_CALIBRATION_BATCH: Final = 64
_ONLY_ERRORS: Final = 3  # onnxruntime's severity


def check_extra() -> None:
    """Raise UserError where a package of the extra is missing."""
    # From 1.31 on, onnxruntime sends telemetry to its maker unless this is set before it is imported; its own
    # disable_telemetry_events() comes too late.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    try:
        with quiet():
            import onnx  # noqa: F401
            import onnxruntime  # noqa: F401
            import onnxscript  # noqa: F401
    except ImportError as error:
        raise UserError(f"ONNX needs the extra export ({error}); pip install 'onecycle[export]'") from None


def write_onnx(path: Path, program: ExportedProgram, description: Mapping[str, Any]) -> None:
    """Write the net with a free number of images, and the description as metadata: texts, and JSON for the rest.

    Raises UserError where the net has an operation that PyTorch cannot write.
    """
    import onnx

    try:
        with quiet():
            exported = torch.onnx.export(
                program,
                dynamo=True,
                verbose=False,
                input_names=[INPUT],
                output_names=[OUTPUT],
                dynamic_shapes=({0: "n"},),
                external_data=False,
            )
    except torch.onnx.OnnxExporterError as error:
        reason: BaseException = error
        while reason.__cause__ is not None:  # the outer ones tell how to mend PyTorch
            reason = reason.__cause__
        said = " ".join(str(reason).split())[:300]
        raise UserError(
            f"torch {torch.__version__} cannot write this net as ONNX ({said}); --format pt2 and safetensors take it"
        ) from error
    with quiet():
        assert exported is not None
        model = exported.model_proto
    _describe(model, description)
    with quiet():
        onnx.checker.check_model(model)
    onnx.save(model, str(path))


def add_description(path: Path, description: Mapping[str, Any]) -> None:
    """Replace the metadata of an ONNX file."""
    import onnx

    model = onnx.load(str(path))
    _describe(model, description)
    onnx.save(model, str(path))


def quantize(source: Path, path: Path, images: ImageSet) -> None:
    """Write the int8 variant of an ONNX file; ranges are those of training images, each class in proportion.

    onnxruntime's static quantisation: QDQ, weights int8 a channel, activations uint8. Normalisation stays float32.
    Of images as many as there are, CALIBRATION_IMAGES at most.
    """
    with quiet():
        import onnx
        from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
        from onnxruntime.quantization.shape_inference import quant_pre_process

        count = min(CALIBRATION_IMAGES, len(images))
        chosen, _ = stratified_split(images.labels, count, 0)

        class Images(CalibrationDataReader):  # type: ignore[misc]
            def __init__(self) -> None:
                self._batches = batches()

            def get_next(self) -> dict[str, NDArray[np.uint8]] | None:
                return next(self._batches, None)

        def batches() -> Iterator[dict[str, NDArray[np.uint8]]]:
            for start in range(0, count, _CALIBRATION_BATCH):
                index = chosen[start : start + _CALIBRATION_BATCH]
                yield {INPUT: np.ascontiguousarray(images.images_nhwc[index])}

        prepared = source.with_name("prepared.onnx")
        try:
            quant_pre_process(str(source), str(prepared), skip_symbolic_shape=True)  # it fails on some nets
            nodes = onnx.load(str(prepared), load_external_data=False).graph.node
            first_conv = next((at for at, node in enumerate(nodes) if node.op_type in ("Conv", "Gemm", "MatMul")), 0)
            quantize_static(
                str(prepared),
                str(path),
                Images(),
                quant_format=QuantFormat.QDQ,
                per_channel=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                nodes_to_exclude=[node.name for node in nodes[:first_conv]],  # normalisation
            )
        finally:
            prepared.unlink(missing_ok=True)


def open_onnx(path: Path, threads: int | None = None) -> Callable[[NDArray[np.uint8]], NDArray[np.float32]]:
    """The net in an ONNX file as a function of images [n, side, side, 3], by onnxruntime on the CPU.

    Raises UserError where the extra is missing.
    """
    check_extra()
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = _ONLY_ERRORS
    options.intra_op_num_threads = torch.get_num_threads() if threads is None else threads
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    def run(images_nhwc: NDArray[np.uint8]) -> NDArray[np.float32]:
        logits_nk: NDArray[np.float32] = session.run([OUTPUT], {INPUT: images_nhwc})[0]
        return logits_nk

    return run


def _describe(model: Any, description: Mapping[str, Any]) -> None:
    """Put the description into an onnx.ModelProto."""
    del model.metadata_props[:]
    for key, value in description.items():
        model.metadata_props.add(key=key, value=value if isinstance(value, str) else json.dumps(value))
    model.producer_name = "onecycle"
    model.producer_version = description["exported_with"]["onecycle"]
