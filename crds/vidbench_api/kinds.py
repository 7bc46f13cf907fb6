"""The four kinds as whole objects, with their columns; and the specs of VideoModel and RunnerClass.

`BenchmarkRun` is the front door, `VideoModel` a model of one's own, `RunnerClass` the admin's pod shape,
`BenchmarkResult` (see `result.py`) one finished shard.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field

from .accounting import Accounting
from .base import (
    ATOMIC,
    RESOURCE_NAME,
    SET,
    AbsolutePath,
    ApiModel,
    ArgumentText,
    Column,
    DType,
    Name,
    ObjectName,
    Offload,
    Quantity,
    Rule,
    map_list,
    rules,
)
from .health import HealthLimits
from .names import MAX_RUN_NAME
from .pipeline_classes import TinyPreset
from .result import BenchmarkResultSpec
from .run_spec import BenchmarkRunSpec, Toleration
from .run_status import BenchmarkRunStatus
from .services import HttpSource, MockSource, ServiceAccess


class HubSource(ApiModel):
    """A model on the hub. A VideoModel pins its commit; an entry of the catalogue may not know one."""

    model_config = ApiModel.model_config | {
        "json_schema_extra": rules(
            Rule("has(self.commit)", "a VideoModel names the commit of its hub id, 40 hex digits: a branch may change")
        )
    }
    id: Annotated[
        str, Field(min_length=3, max_length=200, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9][A-Za-z0-9._-]*$")
    ]
    commit: Annotated[str, Field(pattern=r"^[0-9a-f]{40}$", max_length=40)] | None = None


class ModelSource(ApiModel):
    """Where clips come from: exactly one of a hub id, a folder in the runner, a tiny preset, a server, a mock."""

    model_config = ApiModel.model_config | {
        "json_schema_extra": rules(
            Rule(
                "[has(self.hub), has(self.path), has(self.tiny), has(self.http), has(self.mock)].filter(x, x).size() == 1",
                "exactly one of hub, path, tiny, http and mock is given",
            )
        )
    }
    hub: HubSource | None = None
    path: AbsolutePath | None = Field(
        default=None, description="A folder in the image or below a claim of the runner class."
    )
    tiny: TinyPreset | None = Field(
        default=None, description="A real pipeline class with small random weights, built in the pod; for tests."
    )
    http: HttpSource | None = None
    mock: MockSource | None = None


class ModelDefaults(ApiModel):
    """What a variant that says nothing gets."""

    dtype: DType = "bfloat16"
    height: Annotated[int, Field(ge=8, le=4320)]
    width: Annotated[int, Field(ge=8, le=7680)]
    frames: Annotated[int, Field(ge=1, le=2000)]
    steps: Annotated[int, Field(ge=1, le=1000)]
    frames_per_second: Annotated[int, Field(ge=1, le=240)] = 16
    arguments: Annotated[dict[Annotated[str, Field(max_length=64)], ArgumentText], Field(max_length=16)] = Field(
        default_factory=dict
    )
    offload: Offload = "None"
    vae_tiling: bool = False


class VideoModelSpec(ApiModel):
    """A model of one's own, or an override of the catalogue. Immutable: a new version is a new object."""

    model_config = ApiModel.model_config | {
        "json_schema_extra": rules(
            Rule("self == oldSelf", "a VideoModel cannot be changed: create another one"),
            Rule(
                "!has(self.source.http) || (!has(self.pipelineClass) && self.componentDtypes.size() == 0"
                " && self.forbiddenDtypes.size() == 0 && !has(self.estimatedMemoryMebibytes)"
                " && self.defaults.offload == 'None' && !self.defaults.vaeTiling)",
                "a server loads its model itself: with source.http leave out pipelineClass, componentDtypes, forbiddenDtypes,"
                " estimatedMemoryMebibytes, defaults.offload and defaults.vaeTiling",
            ),
        )
    }
    source: ModelSource
    pipeline_class: (
        Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[A-Z][A-Za-z0-9_]*Pipeline$")] | None
    ) = Field(default=None, description="Class of diffusers. Default: what the folder's model_index.json says.")
    licence: Annotated[str, Field(max_length=100)] | None = None
    architecture: Name | None = Field(
        default=None,
        description="Model of the catalogue whose configuration this one has, for runs with `weights: Random` and to know what its"
        " weights take of memory; docs/models.md lists those that are known.",
    )
    forbidden_dtypes: Annotated[tuple[DType, ...], Field(max_length=3, json_schema_extra=SET)] = ()
    component_dtypes: Annotated[dict[Annotated[str, Field(max_length=64)], DType], Field(max_length=16)] = Field(
        default_factory=dict, description='Components that need another type than the rest, e.g. {"vae": "float32"}.'
    )
    defaults: ModelDefaults
    estimated_memory_mebibytes: Annotated[int, Field(ge=1, le=16_777_216)] | None = Field(
        default=None,
        description="Device memory that a default clip is expected to take. A run whose GPUs show by their labels that they"
        " have less is refused before one is taken. Absent: unknown, nothing is refused.",
    )


class Resources(ApiModel):
    """What one runner pod gets beside its GPUs."""

    cpu: Quantity = "4"
    memory: Quantity = "32Gi"
    cpu_limit: Literal["Equal", "None"] = Field(
        default="Equal",
        description="Equal makes the pod Guaranteed; None leaves out the CPU limit, as throttling distorts CPU measurements.",
    )
    ephemeral_storage: Quantity | None = None
    shared_memory: Quantity = Field(default="1Gi", description="Size of /dev/shm.")
    scratch: Quantity = Field(
        default="10Gi", description="Size of the writable HOME, TMP and cache directories, together."
    )


class ClaimMount(ApiModel):
    """A PersistentVolumeClaim of the run's namespace in every runner pod."""

    claim_name: ObjectName
    mount_path: AbsolutePath
    read_only: bool = True


class EnvVar(ApiModel):
    """An environment variable with a plain value."""

    name: Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
    value: Annotated[str, Field(max_length=1024)] = ""


class ImagePullSecret(ApiModel):
    """The name of a Secret in the run's namespace; the kubelet reads it, the operator never does."""

    name: ObjectName


class RunnerClassSpec(ApiModel):
    """Everything pod-shaped, in the admin's hands."""

    image: Annotated[str, Field(min_length=1, max_length=512, pattern=r"^[a-zA-Z0-9][a-zA-Z0-9._:/@-]*$")]
    image_pull_policy: Literal["Always", "IfNotPresent", "Never"] = "IfNotPresent"
    image_pull_secrets: Annotated[
        tuple[ImagePullSecret, ...], Field(max_length=8, json_schema_extra=map_list("name"))
    ] = ()
    runtime_class_name: ObjectName | None = None
    resources: Resources = Field(default_factory=Resources)
    claims: Annotated[tuple[ClaimMount, ...], Field(max_length=8, json_schema_extra=map_list("mountPath"))] = Field(
        default=(), description="Claims for weights and caches."
    )
    env: Annotated[tuple[EnvVar, ...], Field(max_length=32, json_schema_extra=map_list("name"))] = Field(
        default=(), description="Proxy, certificate authority, hub endpoint, thread counts."
    )
    health: HealthLimits = Field(default_factory=HealthLimits)
    accounting: Accounting = Field(
        default_factory=Accounting, description="Factors for what a video costs in carbon and money. Default: none."
    )
    services: Annotated[tuple[ServiceAccess, ...], Field(max_length=16, json_schema_extra=map_list("endpoint"))] = (
        Field(default=(), description="Endpoints that models with source.http may name. None by default.")
    )
    default_tolerations: Annotated[tuple[Toleration, ...], Field(max_length=16, json_schema_extra=ATOMIC)] = ()
    allowed_namespaces: Annotated[
        tuple[Annotated[str, Field(max_length=63, pattern=r"^(\*|[a-z0-9]([-a-z0-9]*[a-z0-9])?)$")], ...],
        Field(max_length=256, json_schema_extra=SET),
    ] = Field(default=("*",), description="Namespaces whose runs may use this class; `*` is all.")
    allowed_selector_keys: Annotated[
        tuple[Annotated[str, Field(max_length=317, pattern=r"^(\*|[A-Za-z0-9][A-Za-z0-9._/-]*)$")], ...],
        Field(max_length=64, json_schema_extra=SET),
    ] = Field(default=("*",), description="Keys that a run's nodeSelector may use; `*` is all.")
    allowed_toleration_keys: Annotated[
        tuple[Annotated[str, Field(max_length=317, pattern=r"^(\*|[A-Za-z0-9][A-Za-z0-9._/-]*)$")], ...],
        Field(max_length=64, json_schema_extra=SET),
    ] = Field(default=("*",), description="Keys that a run's tolerations may use; `*` is all, also the keyless one.")
    allowed_resource_names: Annotated[
        tuple[Annotated[str, Field(max_length=253, pattern=rf"^(\*|{RESOURCE_NAME})$")], ...],
        Field(max_length=16, json_schema_extra=SET),
    ] = ("nvidia.com/gpu",)
    allowed_priority_classes: Annotated[
        tuple[Annotated[str, Field(max_length=253, pattern=r"^(\*|[a-z0-9]([-a-z0-9.]*[a-z0-9])?)$")], ...],
        Field(max_length=16, json_schema_extra=SET),
    ] = Field(default=(), description="PriorityClasses that a run may ask for; `*` is all, none by default.")


@dataclass(frozen=True)
class Kind:
    """What the CRD of a kind says beside its schema."""

    kind: str
    plural: str
    singular: str
    short_names: tuple[str, ...]
    scope: Literal["Namespaced", "Cluster"]
    spec: type[ApiModel]
    description: str
    spec_defaults: bool = True
    """Whether the API server fills in defaults of the spec: for what people write, never for what was measured."""
    status: type[ApiModel] | None = None
    scale: dict[str, str] | None = None
    columns: tuple[Column, ...] = ()
    root_rules: tuple[Rule, ...] = ()
    selectable_fields: tuple[str, ...] = ()

    @property
    def crd_name(self) -> str:
        """Return the name of the CustomResourceDefinition."""
        return f"{self.plural}.vidbench.io"

    def root_schema_extension(self) -> dict[str, Any]:
        """Return the CEL rules of the whole object."""
        return rules(*self.root_rules) if self.root_rules else {}


AGE = Column("Age", "date", ".metadata.creationTimestamp", "Time since creation.")

BENCHMARK_RUN = Kind(
    kind="BenchmarkRun",
    plural="benchmarkruns",
    singular="benchmarkrun",
    short_names=("br",),
    scope="Namespaced",
    spec=BenchmarkRunSpec,
    status=BenchmarkRunStatus,
    description="Benchmarks video diffusion models: models x hardware x variants, each cell measured by runner Jobs.",
    scale={
        "specReplicasPath": ".spec.parallelism",
        "statusReplicasPath": ".status.parallelism.active",
        "labelSelectorPath": ".status.selector",
    },
    columns=(
        Column(
            "Phase",
            "string",
            ".status.phase",
            "Pending, Running, Suspended, Succeeded, PartiallySucceeded, Failed or Cancelled.",
        ),
        Column("Progress", "string", ".status.progress", "Finished cells of all."),
        Column("Active", "integer", ".status.parallelism.active", "Jobs that exist and have not ended."),
        Column("Failed", "integer", ".status.cells.failed", "Cells that failed."),
        Column("OOM", "integer", ".status.cells.outOfMemory", "Cells that ran out of memory: a finding, not an error."),
        Column("Fastest", "string", ".status.fastest.text", "The valid cell with the lowest mean latency."),
        Column("Gates", "string", ".status.gatesText", "Gates that passed of all."),
        Column("Limited-By", "string", ".status.parallelism.limitedBy", "Why not more Jobs run.", 1),
        Column("GPU-Seconds", "integer", ".status.gpuSeconds.used", "GPU time of attempts that gave a result.", 1),
        Column("Queue", "string", ".spec.scheduling.queueName", "LocalQueue that the Jobs go through.", 1),
        Column("Message", "string", ".status.message", "What is going on, in a sentence.", 1),
        AGE,
    ),
    root_rules=(
        Rule(
            f"self.metadata.name.size() <= {MAX_RUN_NAME}",
            f"metadata.name may have at most {MAX_RUN_NAME} characters: the names of Jobs are made from it",
            ".metadata.name",
        ),
        Rule(
            "self.metadata.name.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')",
            "metadata.name may hold lower case letters, digits and `-` only: it becomes a label and part of Job names",
            ".metadata.name",
        ),
    ),
)
VIDEO_MODEL = Kind(
    kind="VideoModel",
    plural="videomodels",
    singular="videomodel",
    short_names=("vmod",),
    scope="Namespaced",
    spec=VideoModelSpec,
    description="A video diffusion model: where its weights are, its pipeline class and its defaults.",
    columns=(
        Column("Hub", "string", ".spec.source.hub.id", "Hub id."),
        Column("Path", "string", ".spec.source.path", "Folder in the runner."),
        Column("Class", "string", ".spec.pipelineClass", "Pipeline class."),
        AGE,
    ),
)
RUNNER_CLASS = Kind(
    kind="RunnerClass",
    plural="runnerclasses",
    singular="runnerclass",
    short_names=("rcl",),
    scope="Cluster",
    spec=RunnerClassSpec,
    description="The admin's shape of runner pods: image, resources, claims, and what a run may ask for.",
    columns=(Column("Image", "string", ".spec.image", "Runner image."), AGE),
)
BENCHMARK_RESULT = Kind(
    kind="BenchmarkResult",
    plural="benchmarkresults",
    singular="benchmarkresult",
    short_names=("bres",),
    scope="Namespaced",
    spec=BenchmarkResultSpec,
    spec_defaults=False,
    description="One finished shard: written once by the operator, then immutable. It outlives its run.",
    columns=(
        Column("Run", "string", ".spec.run.name", "Run that measured it."),
        Column("Model", "string", ".spec.cell.model", "Model."),
        Column("Hardware", "string", ".spec.cell.hardware", "Hardware entry."),
        Column("Variant", "string", ".spec.cell.variant", "Variant."),
        Column("Shard", "integer", ".spec.shard", "Shard."),
        Column("Outcome", "string", ".spec.outcome", "Succeeded, OutOfMemory, Failed or Cancelled."),
        Column("Latency", "string", ".spec.latencyText", "Mean, standard deviation and number of samples."),
        Column("Reason", "string", ".spec.reason", "Why it did not succeed."),
        Column("Validity", "string", ".spec.validity.state", "Valid, Invalid or Partial."),
        Column("Device", "string", ".spec.environment.device", "GPU name, cpu, service or mock.", 1),
        Column(
            "Comparability",
            "string",
            ".spec.comparability",
            "Device, Service or Mock: what it may be compared with.",
            1,
        ),
        Column("Node", "string", ".spec.origin.node", "Node.", 1),
        AGE,
    ),
)
KINDS = (BENCHMARK_RUN, VIDEO_MODEL, RUNNER_CLASS, BENCHMARK_RESULT)
