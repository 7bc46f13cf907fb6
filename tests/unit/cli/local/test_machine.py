"""What a machine is taken to have, and the node that it stands for."""

from __future__ import annotations

import pytest
from unit.runner.nvml_replay import H100, NvmlReplay, error

from vidbench_cli.local.machine import Gpu, Machine, find_machine, list_by_nvml, parse_smi, visible
from vidbench_operator.core.environment import environment_of
from vidbench_operator.core.observed import ObservedNode

ONE = Gpu("GPU-aaaa", "NVIDIA H200", "580.1", 143771)
TWO = Gpu("GPU-bbbb", "NVIDIA H200", "580.1", 143771)


def machine(*gpus: Gpu) -> Machine:
    return Machine("box", gpus, 8, 64_000, "x86_64", "6.1.0", "0123")


@pytest.mark.parametrize(
    ("setting", "left"),
    [
        (None, (ONE, TWO)),
        ("", ()),
        ("1", (TWO,)),
        ("1,0", (TWO, ONE)),
        ("GPU-bb", (TWO,)),
        ("0,7,1", (ONE,)),
        ("-1", ()),
        ("MIG-1234", (Gpu("MIG-1234"),)),
        ("0,0", (ONE,)),
    ],
)
def test_cuda_visible_devices_leaves_what_cuda_would_see(setting: str | None, left: tuple[Gpu, ...]) -> None:
    assert visible([ONE, TWO], setting) == left


def test_nvml_names_each_gpu() -> None:
    nvml = NvmlReplay(H100, {**H100, "nvmlDeviceGetUUID": "GPU-other"})
    first, second = list_by_nvml(nvml)
    assert first == Gpu(H100["nvmlDeviceGetUUID"], "NVIDIA H100 80GB HBM3", "580.65.06", 81559)
    assert second.token == "GPU-other"


def test_no_driver_is_no_gpu() -> None:
    assert list_by_nvml(NvmlReplay(H100, init=error("DRIVER_NOT_LOADED"))) == []


def test_nvidia_smi_is_read_where_nvml_is_not_installed() -> None:
    text = "GPU-aaaa, NVIDIA H200, 580.1, 143771\nNVIDIA-SMI has failed\nGPU-cccc, Odd, 1, [N/A]\n"
    assert parse_smi(text) == [ONE, Gpu("GPU-cccc", "Odd", "1", None)]


def test_labels_are_those_of_gpu_feature_discovery() -> None:
    labels = machine(ONE, TWO).labels()
    assert labels["nvidia.com/gpu.product"] == "NVIDIA-H200"
    assert labels["nvidia.com/gpu.count"] == "2"
    assert labels["kubernetes.io/arch"] == "amd64"


def test_gpus_that_differ_have_no_product() -> None:
    labels = machine(ONE, Gpu("GPU-x", "NVIDIA L40S", "580.1", 46068)).labels()
    assert not {"nvidia.com/gpu.product", "nvidia.com/gpu.memory"} & labels.keys()


def test_node_shows_enough_for_the_identity_of_an_environment() -> None:
    from support.builders import run_spec

    cpu = run_spec(hardware=[{"name": "cpu", "gpus": 0}]).hardware[0]
    gpu = run_spec(hardware=[{"name": "gpu", "gpus": 1}]).hardware[0]
    node: ObservedNode = machine(ONE).node()
    assert environment_of(node, cpu, "image").digest
    assert environment_of(node, gpu, "image").digest
    assert environment_of(machine().node(), gpu, "image").digest is None


def test_this_machine_is_looked_at() -> None:
    found = find_machine({"CUDA_VISIBLE_DEVICES": ""}, lambda: [ONE])
    assert found.gpus == ()
    assert found.cpus >= 1
    assert found.memory_mebibytes > 64
