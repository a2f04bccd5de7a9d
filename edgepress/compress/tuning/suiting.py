"""What makes a network fit to be fine-tuned: normalised layers, and only augmentation that it stands."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import onnx
import onnxruntime as ort

from edgepress.compress.tuning.data import TuningData
from edgepress.compress.tuning.judging import Score
from edgepress.config.fine_tune import FineTune
from edgepress.config.train import Augment
from edgepress.datasets.augment import augment
from edgepress.datasets.prepared import Array, Split
from edgepress.graph.unfolding import (
    Moments,
    Unfolded,
    layers_without_batchnorm,
    unfold_batchnorm,
    with_usual_kernels,
)
from edgepress.graph.view import copy
from edgepress.measure.entries import session_entries
from edgepress.measure.inference import outputs_in_memory
from edgepress.translate.plan import Plan
from edgepress.translate.trainable import has_own_kernel

_SAMPLES = 512
_BATCH = 64
_FEWEST_IN_A_BATCH = 8
_FEWEST_VALUES = 4
_MOST_LOST = 0.05


def suited_network(model: onnx.ModelProto, plan: Plan, data: TuningData, config: FineTune) -> Unfolded:
    """The network with BatchNormalization behind its trainable layers, which computes the same.

    It stays as it is where nothing is trained, and where batches are too small to tell statistics by. Where
    some BatchNormalization is left, none was folded, and layers without, as the last, were trained so: then
    only kernels of an unusual size are changed.
    """
    if not config.epochs or min(config.batch_size, len(data.train)) < _FEWEST_IN_A_BATCH:
        return Unfolded(model)
    if any(node.op_type == "BatchNormalization" for node in model.graph.node):
        return Unfolded(with_usual_kernels(model))
    own = {str(step.weights["kernel"].initializer) for step in plan.steps if has_own_kernel(step)}
    outputs = layers_without_batchnorm(model, own)
    return unfold_batchnorm(model, _moments(model, outputs, data.train) if outputs else {})


def suited_data(
    model: onnx.ModelProto, plan: Plan, data: TuningData, config: FineTune, stage: str
) -> TuningData:
    """The data as the plan takes it, without augmentation where the network was not trained with it.

    That is where its accuracy on augmented validation inputs is much below that on plain ones: such a network
    would have to learn far more than what the compression cost. Told in a line. A network that is its only
    teacher keeps the augmentation, since it says itself what is right.
    """
    data = replace(data, entries=plan.entries)
    if not (config.epochs and config.distillation < 1 and data.augments):
        return data
    classes = data.validation.y[:_SAMPLES]
    inputs = data.validation.inputs(slice(_SAMPLES))
    moved = augment(inputs, np.random.default_rng(data.seed), data.augment)
    plain, augmented = (compared(model, model, Split(each, classes)).accuracy for each in (inputs, moved))
    if augmented >= plain - _MOST_LOST:
        return data
    print(
        f"{stage}: fine-tunes without train.augment, for which the network was not trained: its validation "
        f"accuracy falls from {plain:.4f} to {augmented:.4f} under it"
    )
    return replace(data, augment=Augment(0, False))


def compared(model: onnx.ModelProto, original: onnx.ModelProto, split: Split) -> Score:
    """The accuracy and cross-entropy of a model on a whole split; without classes, against the original's.

    Of a network that is no classifier, the share of its outputs that the model explains, and what is left.
    """
    if len(model.graph.output) > 1 or len(model.graph.output[0].type.tensor_type.shape.dim) != 2:
        return _explained(model, original, split)
    logits = _outputs(model, split)
    classes = np.asarray(split.y) if split.has_classes else _outputs(original, split).argmax(axis=1)
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    losses = np.log(np.exp(shifted).sum(axis=1)) - shifted[np.arange(len(shifted)), classes]
    return Score(float((logits.argmax(axis=1) == classes).mean()), float(losses.mean()))


def _explained(model: onnx.ModelProto, original: onnx.ModelProto, split: Split) -> Score:
    """How far the outputs of two models agree: one less the mean square of differences over the variance."""
    found, known = (outputs_in_memory(each, split.samples(), 1).outputs for each in (model, original))
    pairs = [(found[name].astype(np.float64), theirs) for name, theirs in known.items()]
    left = [
        float(((ours - theirs) ** 2).mean() / (theirs.astype(np.float64).var() or 1.0))
        for ours, theirs in pairs
        if theirs.dtype.kind == "f" and theirs.size
    ]
    return Score(max(1 - float(np.mean(left)), 0.0), float(np.sum(left)))


def _moments(model: onnx.ModelProto, outputs: Sequence[str], split: Split) -> dict[str, Moments]:
    """The moments of each tensor that has several values in a channel of a sample, or is a vector."""
    sums: dict[str, list[Array | int]] = {}
    for _, *values in _run(model, outputs, split, _SAMPLES):
        for name, each in zip(outputs, values, strict=True):
            if each.ndim == 2 or each[0, 0].size >= _FEWEST_VALUES:
                axes = (0, *range(2, each.ndim))
                exact = each.astype(np.float64)
                new = [exact.sum(axes), (exact**2).sum(axes), exact.size // exact.shape[1]]
                sums[name] = [a + b for a, b in zip(sums.get(name, [0, 0, 0]), new, strict=True)]
    moments = {}
    for name, (first, second, count) in sums.items():
        mean = first / count
        moments[name] = Moments(np.asarray(mean), np.maximum(second / count - mean**2, 0))
    return {name: each for name, each in moments.items() if np.isfinite(each.variance).all()}


def _outputs(model: onnx.ModelProto, split: Split) -> Array:
    """A model's outputs (N, classes) for a whole split."""
    return np.concatenate([logits for (logits,) in _run(model, (), split, len(split))])


def _run(model: onnx.ModelProto, extra: Sequence[str], split: Split, most: int) -> Iterator[list[Array]]:
    """The model's output, and further tensors of it, for at most so many samples, batch by batch."""
    asked = copy(model)
    for name in extra:
        asked.graph.output.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None))
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    session = ort.InferenceSession(asked.SerializeToString(), options, ["CPUExecutionProvider"])
    names, entries = [model.graph.output[0].name, *extra], session_entries(session)
    for start in range(0, min(len(split), most), _BATCH):
        part = split.samples(slice(start, min(start + _BATCH, most)))
        yield session.run(names, part.feed(entries))
