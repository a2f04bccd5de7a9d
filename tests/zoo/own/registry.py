"""All networks of our own, by task."""

from tests.zoo.own import (
    control_flow,
    detection,
    others,
    points_and_text,
    segmentation,
    speech,
    state_space,
    super_resolution,
    tables,
    text,
    yolo,
)
from tests.zoo.own.network import Network, Section

SECTIONS = (
    Section("Detection", yolo.NETWORKS + detection.NETWORKS),
    Section("Segmentation", segmentation.NETWORKS),
    Section("Key points, and text in images", points_and_text.NETWORKS),
    Section("Speech and sound", speech.NETWORKS),
    Section("Text", text.NETWORKS),
    Section("Super-resolution, restoration and style", super_resolution.NETWORKS),
    Section("State spaces and recurrences", state_space.NETWORKS),
    Section("Control flow", control_flow.NETWORKS),
    Section("Several inputs, graphs, points, movement", others.NETWORKS),
    Section("Volumes, series and tables", tables.NETWORKS),
)

NETWORKS: dict[str, Network] = {network.name: network for section in SECTIONS for network in section.networks}
