"""What one machine makes of a run that was written for a cluster, and what it says about it."""

from __future__ import annotations

from typing import Any

import pytest
from support.builders import run_spec, video_model

from vidbench_cli.local.fitting import ARTIFACTS, fit, image_of, local_class, why_not
from vidbench_cli.local.machine import Gpu, Machine

MACHINE = Machine("box", (Gpu("GPU-a", "NVIDIA H200", "580.1", 143771),), 8, 64_000, "x86_64", "6.1", "0123")


def test_what_only_a_cluster_has_is_taken_out_and_said() -> None:
    spec = run_spec(
        hardware=[{"name": "h200", "nodeSelector": {"pool": "a", "nvidia.com/gpu.product": "NVIDIA-H200"}}],
        scheduling={"queueName": "team"},
        reuse={"policy": "IfIdentical"},
        parallelism=16,
    )
    fitted = fit(spec, MACHINE, 1)
    assert fitted.spec.hardware[0].node_selector == {"nvidia.com/gpu.product": "NVIDIA-H200"}
    assert (fitted.spec.scheduling.queue_name, fitted.spec.reuse.policy, fitted.spec.parallelism) == ("", "Never", 1)
    assert fitted.spec.artifacts.storage_uri == ARTIFACTS
    said = " ".join(fitted.notes)
    assert all(word in said for word in ("nodeSelector pool", "queueName", "reuse"))


def test_what_is_measured_stays_as_it_was_asked_for() -> None:
    spec = run_spec(models=["wan", "ltx"], measurement={"shards": 3}, artifacts={"storageUri": "claim://mine/x"})
    fitted = fit(spec, MACHINE, 4).spec
    assert (fitted.models, fitted.variants, fitted.workload, fitted.measurement, fitted.artifacts) == (
        spec.models,
        spec.variants,
        spec.workload,
        spec.measurement,
        spec.artifacts,
    )


def test_a_run_that_fits_needs_no_note() -> None:
    assert fit(run_spec(hardware=[{"name": "gpu"}]), MACHINE, 1).notes == ()


@pytest.mark.parametrize(
    ("hardware", "why"),
    [
        ({"nodeSelector": {"nvidia.com/gpu.product": "NVIDIA-L40S"}}, "this machine has NVIDIA-H200"),
        ({"gpus": 2}, "2 GPUs, and this machine has 1"),
        ({"resourceName": "nvidia.com/mig-1g.10gb"}, "whole GPUs"),
    ],
)
def test_hardware_that_this_machine_is_not_is_named_before_anything_runs(hardware: dict[str, Any], why: str) -> None:
    fitted = fit(run_spec(hardware=[{"name": "other", **hardware}]), MACHINE, 1)
    assert why in (why_not(fitted.spec.hardware[0], MACHINE) or "")
    assert why in fitted.notes[0]


def test_shards_that_share_the_cpu_are_warned_of() -> None:
    assert "disturb" in fit(run_spec(hardware=[{"name": "cpu", "gpus": 0}]), MACHINE, 2).notes[0]


def test_the_local_class_allows_every_endpoint_and_gives_no_key() -> None:
    http = {"endpoint": "http://127.0.0.1:8000/v1", "model": "m"}
    made = local_class(MACHINE, "local/x", 4, [video_model(source={"http": http}, pipelineClass=None)])
    assert [(entry.endpoint, entry.api_key_secret) for entry in made.services] == [("http://127.0.0.1:8000/v1", None)]
    assert made.resources.memory == "64000Mi"


def test_libraries_stand_for_an_image() -> None:
    image = image_of({"torch": "2.15.0+cu130", "diffusers": "0.42.1"})
    assert image == "local/diffusers-0.42.1-torch-2.15.0_cu130"
    assert local_class(MACHINE, image, 1, []).image == image
