"""What a user asks for: the spec of a `BenchmarkRun`.

Holds no pod-shaped input: images, volumes, environment and service accounts belong to the admin's `RunnerClass`.
Defaults stand here and nowhere else; the CRD carries them.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from .base import (
    ATOMIC,
    ATOMIC_MAP,
    RESOURCE_NAME_PATTERN,
    SET,
    ApiModel,
    ArgumentText,
    Attention,
    Compile,
    ComponentName,
    DType,
    LabelKey,
    LabelValue,
    Name,
    ObjectName,
    Offload,
    Rule,
    Seconds,
    Weights,
    map_list,
    rules,
)
from .gates import GATES_SIZE, MAX_GATES, Analysis, Baseline, Gate, known_names_rules
from .names import MAX_CELLS, MAX_SAMPLES, MAX_SHARDS_OF_RUN, SPEC_LIMIT


class ModelReference(ApiModel):
    """The name of a VideoModel in the run's namespace."""

    name: ObjectName


class RunModel(ApiModel):
    """A model of the run."""

    name: Name = Field(
        description="Name of the model in this run; also of the VideoModel, unless modelRef names another."
    )
    model_ref: ModelReference | None = Field(
        default=None,
        description="VideoModel in the run's namespace. Default: the VideoModel or catalogue entry called `name`.",
    )
    weights: Weights = Field(
        default="Pretrained",
        description="Random: the true configuration with random weights, built on the device without a download; time, memory and"
        " energy are those of the model, its videos are noise. Only for configurations that are known.",
    )


class Toleration(ApiModel):
    """A toleration as Kubernetes knows it, without tolerationSeconds: the operator decides about lost nodes."""

    model_config = ApiModel.model_config | {
        "json_schema_extra": rules(
            Rule(
                "self.operator == 'Exists' ? !has(self.value) : has(self.key)",
                "operator Exists takes no value, and Equal needs a key",
            )
        )
    }
    key: LabelKey | None = None
    operator: Literal["Exists", "Equal"] = "Equal"
    value: LabelValue | None = None
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None


class Hardware(ApiModel):
    """A kind of place to measure on: the nodes that a selector matches, and the GPUs that one shard gets there."""

    name: Name
    node_selector: Annotated[dict[LabelKey, LabelValue], Field(max_length=16, json_schema_extra=ATOMIC_MAP)] = Field(
        default_factory=dict, description="Labels that a node must have. The runner class says which keys are allowed."
    )
    tolerations: Annotated[tuple[Toleration, ...], Field(max_length=16, json_schema_extra=ATOMIC)] = ()
    gpus: Annotated[int, Field(ge=0, le=16)] = Field(default=1, description="GPUs of one shard; 0 measures on the CPU.")
    resource_name: Annotated[str, Field(min_length=1, max_length=253, pattern=RESOURCE_NAME_PATTERN)] = Field(
        default="nvidia.com/gpu",
        description="Extended resource that stands for a GPU, e.g. nvidia.com/gpu or a MIG profile.",
    )


class Clip(ApiModel):
    """The size of a clip. What is left out is the model's default."""

    height: Annotated[int, Field(ge=8, le=4320)] | None = None
    width: Annotated[int, Field(ge=8, le=7680)] | None = None
    frames: Annotated[int, Field(ge=1, le=2000)] | None = None


class Variant(ApiModel):
    """An overlay over the model's defaults."""

    name: Name
    dtype: DType | None = Field(default=None, description="Type of the weights; default: the model's.")
    component_dtypes: Annotated[dict[ComponentName, DType], Field(max_length=16)] = Field(
        default_factory=dict,
        description='Components that need another type than the rest, e.g. {"vae": "float32"}; over the model\'s.',
    )
    clip: Clip = Field(default_factory=Clip)
    steps: Annotated[int, Field(ge=1, le=1000)] | None = Field(default=None, description="Denoising steps.")
    arguments: Annotated[dict[Annotated[str, Field(max_length=64)], ArgumentText], Field(max_length=16)] = Field(
        default_factory=dict,
        description='More arguments of the pipeline\'s call, each a string that holds a JSON scalar, e.g. guidance_scale: "5.0".',
    )
    offload: Offload | None = Field(
        default=None,
        description="What keeps weights in host memory while they are not needed; default: the model's. Needs a GPU. "
        "Model: whole components. Group: leaf modules, fetched ahead. Sequential: leaf modules, one by one.",
    )
    vae_tiling: bool | None = Field(
        default=None, description="Whether the VAE decodes a large frame in overlapping tiles; default: the model's."
    )
    attention: Attention = Field(
        default="Default",
        description="What computes attention in the denoiser. Default: what the library takes. Native...: PyTorch's own, by"
        " kernel. Flash2, Flash3, Sage: packages that the runner's image must hold.",
    )
    compile: Compile = Field(
        default="None",
        description="Mode of torch.compile for the denoisers: the first warm-up compiles. Not together with offload.",
    )
    memory_cap_mebibytes: Annotated[int, Field(ge=256, le=1_048_576)] | None = Field(
        default=None,
        description="What torch's allocator may take of the GPU, as if it were a smaller one: whether a cell fits there is then"
        " measured. CUDA's context and libraries come on top. Needs a GPU.",
    )
    only_for: Annotated[tuple[Name, ...], Field(max_length=64, json_schema_extra=SET)] = Field(
        default=(), description="Models that this variant is for; empty: all."
    )


class Exclusion(ApiModel):
    """Cells to leave out: those that match every field that is given."""

    model_config = ApiModel.model_config | {
        "json_schema_extra": rules(
            Rule(
                "has(self.model) || has(self.hardware) || has(self.variant)",
                "an exclusion names a model, hardware or variant",
            )
        )
    }
    model: Name | None = None
    hardware: Name | None = None
    variant: Name | None = None


class Matrix(ApiModel):
    """Which cells of models x hardware x variants are measured."""

    exclude: Annotated[tuple[Exclusion, ...], Field(max_length=64, json_schema_extra=ATOMIC)] = ()


class Prompt(ApiModel):
    """A prompt. Its id stands in results; its text only in the request document."""

    id: Name
    text: Annotated[str, Field(min_length=1, max_length=2000)]
    negative_text: Annotated[str, Field(max_length=2000)] | None = None


class Seeds(ApiModel):
    """The seeds base, base+1, ..., base+count-1; each prompt is generated with each seed."""

    base: Annotated[int, Field(ge=0, le=4_294_967_295)] = 0
    count: Annotated[int, Field(ge=1, le=MAX_SAMPLES)] = 1


class Workload(ApiModel):
    """What is generated."""

    model_config = ApiModel.model_config | {
        "json_schema_extra": rules(
            Rule(
                f"self.prompts.size() * self.seeds.count <= {MAX_SAMPLES}",
                f"prompts x seeds.count may be at most {MAX_SAMPLES} samples a shard",
            )
        )
    }
    prompts: Annotated[
        tuple[Prompt, ...], Field(min_length=1, max_length=MAX_SAMPLES, json_schema_extra=map_list("id"))
    ]
    seeds: Seeds = Field(default_factory=Seeds)


class Warmup(ApiModel):
    """Samples before the measured ones, with the measured shape; kept in the raw record, not in the statistics."""

    model_config = ApiModel.model_config | {
        "json_schema_extra": rules(
            Rule("!has(self.max) || self.min <= self.max", "warmup.min may not be above warmup.max", ".min")
        )
    }
    min: Annotated[int, Field(ge=0, le=16)] = 1
    max: Annotated[int, Field(ge=0, le=16)] | None = Field(
        default=None,
        description="Warm up until time and temperature are flat, at most so often. Absent: exactly `min` times.",
    )


class SampleLimits(ApiModel):
    """How many samples a shard of plan Precision takes."""

    model_config = ApiModel.model_config | {
        "json_schema_extra": rules(
            Rule("self.min <= self.max", "samples.min may not be above samples.max", ".min"),
        )
    }
    min: Annotated[int, Field(ge=5, le=MAX_SAMPLES)] = Field(
        default=10, description="The interval is looked at from here on: below 10 it covers less than it says."
    )
    max: Annotated[int, Field(ge=5, le=MAX_SAMPLES)] = 50


class Precision(ApiModel):
    """How well a shard of plan Precision has to know a figure."""

    metric: Literal["latency", "denoise", "vaeDecode", "step", "energy"] = "latency"
    half_width: Annotated[str, Field(max_length=6, pattern=r"^(0\.[0-9]*[1-9]|[1-9][0-9]?(\.[0-9]+)?)%$")] = Field(
        default="1%", description="Half-width of the 95 % interval of its mean, as a share of the mean, e.g. 0.5%."
    )

    @property
    def parts_per_million(self) -> int:
        """The half-width as an integer, in the unit of results."""
        return round(float(self.half_width.rstrip("%")) * 10_000)


MeasurementPlan = Literal["Fixed", "Precision", "Repro"]


class Measurement(ApiModel):
    """How a cell is measured."""

    model_config = ApiModel.model_config | {
        "json_schema_extra": rules(
            Rule(
                "self.plan == 'Precision' || (!has(self.precision) && !has(self.samples))",
                "precision and samples are for plan Precision only",
                ".plan",
            )
        )
    }
    plan: MeasurementPlan = Field(
        default="Fixed",
        description="Fixed: every prompt with every seed, once, in every shard. Precision: the same in turns, until the mean"
        " is known well enough. Repro: every one twice, by deterministic algorithms and never timed: are the bits equal?",
    )
    shards: Annotated[int, Field(ge=1, le=64)] = Field(
        default=1, description="Processes per cell. Samples of one process are not independent; shards are."
    )
    warmup: Warmup = Field(default_factory=Warmup)
    samples: SampleLimits | None = Field(default=None, description="For plan Precision; default: from 10 to 50.")
    precision: Precision | None = Field(default=None, description="For plan Precision; default: latency to 1%.")
    pairing: Literal["None", "Node"] = Field(
        default="None",
        description="Node: all cells of a hardware entry run their shard of the same number on the same node.",
    )


class FailurePolicy(ApiModel):
    """What happens after a failure."""

    infrastructure_retries: Annotated[int, Field(ge=0, le=10)] = Field(
        default=3,
        description="Further attempts of a shard after failures that are not the model's: lost nodes, faulty GPUs."
        " Evictions, preemptions and deleted pods are not counted.",
    )
    unknown_retries: Annotated[int, Field(ge=0, le=5)] = Field(
        default=1, description="Further attempts of a shard after failures of no known reason."
    )
    out_of_memory: Literal["Record", "Fallback"] = Field(
        default="Record",
        description="Record: out of memory is the cell's result. Fallback: it is, and the rung that fits the stage which ran"
        " out (VAE tiling, offload) is measured beside it, as a row of its own.",
    )
    max_failed_cells: Annotated[str, Field(max_length=4, pattern=r"^(100|[1-9]?[0-9])%$")] = Field(
        default="100%",
        description="The run ends once more than this share of its cells has failed; what was measured stays.",
    )


class ValidityPolicy(ApiModel):
    """What is asked of a measurement, and what happens with one that may not be believed."""

    exclusive_gpu: Literal["Require", "Ignore"] = Field(
        default="Require",
        description="Require: a GPU that others use does not get the shard, and one that they used meanwhile makes it Invalid."
        " Ignore: they are recorded.",
    )
    on_invalid: Literal["Retry", "Flag"] = Field(
        default="Retry",
        description="Retry: an Invalid shard is measured once more, if that may help; its first result is kept beside."
        " Flag: it stays as it is, marked Invalid.",
    )


class Autoscaling(ApiModel):
    """How the number of Jobs follows the capacity that there is."""

    mode: Literal["Capacity", "Off"] = Field(
        default="Capacity",
        description="Capacity: as many Jobs as get scheduled, and a few more. Off: as many as parallelism allows.",
    )
    min: Annotated[int, Field(ge=1, le=1000)] = Field(
        default=1, description="Jobs of one hardware entry that may wait for a node whatever was seen before."
    )


class Scheduling(ApiModel):
    """How Jobs get through the cluster's queues."""

    queue_name: Annotated[str, Field(max_length=63, pattern=r"^([a-z0-9]([-a-z0-9]*[a-z0-9])?)?$")] = Field(
        default="", description="LocalQueue of Kueue in the run's namespace. Empty: none."
    )
    priority_class_name: Annotated[
        str, Field(max_length=253, pattern=r"^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*)?$")
    ] = Field(default="", description="PriorityClass of the pods; the runner class must allow it. Empty: none.")


class Reuse(ApiModel):
    """Whether shards that were measured before are measured again."""

    policy: Literal["Never", "IfIdentical"] = Field(
        default="Never",
        description="IfIdentical: a valid result of this namespace stands for a shard, if what decides pixels and time is the same.",
    )
    max_age_seconds: Seconds = Field(default=604_800, description="Age of the oldest result that may be reused.")


class Timeouts(ApiModel):
    """Limits of every state, in seconds. Each one is counted from the moment that its state was entered."""

    run_seconds: Seconds = Field(
        default=86_400,
        description="The whole run, from its creation, without the time that it was suspended or queued.",
    )
    scheduling_seconds: Seconds = Field(default=1_800, description="Until a node is found, and until references exist.")
    image_pull_seconds: Seconds = Field(default=1_800, description="From a node to a running container.")
    load_seconds: Seconds = Field(default=1_800, description="Loading the model, within the runner.")
    shard_seconds: Seconds = Field(default=7_200, description="A pod of a shard, from its start on a node.")
    no_progress_seconds: Seconds = Field(
        default=300,
        description="A runner that reaches no boundary or step and uses no processor time for so long is killed.",
    )


class Artifacts(ApiModel):
    """Where raw samples and videos go. Without a URI the result holds what the termination message can carry."""

    storage_uri: Annotated[
        str,
        Field(max_length=512, pattern=r"^(claim://[a-z0-9]([-a-z0-9.]*[a-z0-9])?(/[a-zA-Z0-9_][a-zA-Z0-9._-]*)*)?$"),
    ] = Field(default="", description="claim://NAME/PATH: a PersistentVolumeClaim in the run's namespace. Empty: none.")
    keep_videos: Literal["None", "First", "All"] = Field(
        default="First", description="Which videos are kept, losslessly."
    )


class TimeToLive(ApiModel):
    """When finished things are removed; the results stay."""

    jobs_seconds: Annotated[int, Field(ge=0, le=31_536_000)] = 3_600
    failed_jobs_seconds: Annotated[int, Field(ge=0, le=31_536_000)] = 86_400
    run_seconds: Annotated[int, Field(ge=0, le=31_536_000)] | None = Field(
        default=None,
        description="Delete the run itself so long after its end. Default: never, as GitOps would apply it again.",
    )


DEFAULT_HARDWARE = (Hardware(name="default"),)
DEFAULT_VARIANTS = (Variant(name="default"),)

IMMUTABLE_FIELDS = (
    "runnerClassName", "models", "hardware", "variants", "matrix", "workload", "measurement", "validity", "failurePolicy",
    "artifacts", "scheduling", "reuse", "baselines", "gates", "analysis",
)  # fmt: skip
IMMUTABLE_TIMEOUTS = ("schedulingSeconds", "imagePullSeconds", "loadSeconds", "shardSeconds", "noProgressSeconds")


def _immutable(field: str) -> Rule:
    return Rule(f"self.{field} == oldSelf.{field}", f"{field} cannot be changed: apply a new run", f".{field}")


_SPEC_SIZE = (
    "2048 + self.models.map(m, 110 + (has(m.modelRef) ? m.modelRef.name.size() : 0)).sum()"
    " + self.hardware.map(h, 120 + h.resourceName.size()"
    " + h.nodeSelector.map(k, 6 + k.size() + h.nodeSelector[k].size()).sum()"
    " + h.tolerations.map(t, 70 + (has(t.key) ? t.key.size() : 0) + (has(t.value) ? t.value.size() : 0)).sum()).sum()"
    " + self.variants.map(v, 340 + v.onlyFor.map(n, 3 + n.size()).sum()"
    " + v.componentDtypes.map(k, 16 + bytes(k).size()).sum()"
    " + v.arguments.map(k, 6 + bytes(k).size() + bytes(v.arguments[k]).size()).sum()).sum()"
    " + 165 * self.matrix.exclude.size()"
    " + self.workload.prompts.map(p, 80 + bytes(p.text).size()"
    " + (has(p.negativeText) ? bytes(p.negativeText).size() : 0)).sum()"
    f" + {GATES_SIZE}"
)
"""At least the bytes of a spec's JSON: constants for keys, names and scalars, and the bytes of every longer text. What JSON
escapes (quotes, line breaks) counts once. The spec stands a second time in kubectl's last-applied annotation, and an
object's annotations may hold 256 KiB."""

SPEC_RULES = (
    Rule(
        f"self.models.size() * self.hardware.size() * self.variants.size() <= {MAX_CELLS}",
        f"models x hardware x variants may be at most {MAX_CELLS} cells",
        ".models",
    ),
    Rule(
        "self.models.size() * self.hardware.size() * self.variants.size() * self.measurement.shards"
        f" <= {MAX_SHARDS_OF_RUN}",
        f"cells x measurement.shards may be at most {MAX_SHARDS_OF_RUN} shards",
        ".measurement",
    ),
    Rule(
        "self.matrix.exclude.all(e, (!has(e.model) || self.models.exists(m, m.name == e.model))"
        " && (!has(e.hardware) || self.hardware.exists(h, h.name == e.hardware))"
        " && (!has(e.variant) || self.variants.exists(v, v.name == e.variant)))",
        "an exclusion names a model, hardware or variant that is not in this run",
        ".matrix",
    ),
    Rule(
        "self.variants.all(v, v.onlyFor.all(n, self.models.exists(m, m.name == n)))",
        "onlyFor names a model that is not in this run",
        ".variants",
    ),
    *known_names_rules("gates", "gate"),
    *known_names_rules("analysis.hypotheses", "hypothesis"),
    Rule(
        f"{_SPEC_SIZE} <= {SPEC_LIMIT}",
        f"the spec may hold at most {SPEC_LIMIT // 1024} KiB: shorten or drop prompts, arguments or selectors",
    ),
    Rule(
        "oldSelf.cancel == self.cancel || oldSelf.cancel == 'None' || self.cancel == 'Immediate'",
        "cancel cannot be taken back: apply a new run",
        ".cancel",
    ),
    *(_immutable(field) for field in IMMUTABLE_FIELDS),
    *(_immutable(f"timeouts.{field}") for field in IMMUTABLE_TIMEOUTS),
)


class BenchmarkRunSpec(ApiModel):
    """What to measure, where and how. Immutable but for parallelism, autoscaling, suspend, cancel, ttl, timeouts.runSeconds."""

    model_config = ApiModel.model_config | {"json_schema_extra": rules(*SPEC_RULES)}

    runner_class_name: ObjectName = Field(default="default", description="RunnerClass that shapes the pods.")
    models: Annotated[tuple[RunModel, ...], Field(min_length=1, max_length=64, json_schema_extra=map_list("name"))]
    hardware: Annotated[
        tuple[Hardware, ...], Field(min_length=1, max_length=16, json_schema_extra=map_list("name"))
    ] = DEFAULT_HARDWARE
    variants: Annotated[tuple[Variant, ...], Field(min_length=1, max_length=64, json_schema_extra=map_list("name"))] = (
        DEFAULT_VARIANTS
    )
    matrix: Matrix = Field(default_factory=Matrix)
    workload: Workload
    measurement: Measurement = Field(default_factory=Measurement)
    validity: ValidityPolicy = Field(default_factory=ValidityPolicy)
    parallelism: Annotated[int, Field(ge=0, le=10_000)] = Field(
        default=16, description="At most so many Jobs at once; 0 starts nothing new. kubectl scale sets it."
    )
    autoscaling: Autoscaling = Field(default_factory=Autoscaling)
    scheduling: Scheduling = Field(default_factory=Scheduling)
    failure_policy: FailurePolicy = Field(default_factory=FailurePolicy)
    timeouts: Timeouts = Field(default_factory=Timeouts)
    artifacts: Artifacts = Field(default_factory=Artifacts)
    ttl: TimeToLive = Field(default_factory=TimeToLive)
    reuse: Reuse = Field(default_factory=Reuse)
    baselines: Annotated[tuple[Baseline, ...], Field(max_length=MAX_GATES, json_schema_extra=map_list("name"))] = Field(
        default=(), description="Earlier results that gates and hypotheses compare with."
    )
    gates: Annotated[tuple[Gate, ...], Field(max_length=MAX_GATES, json_schema_extra=map_list("name"))] = Field(
        default=(), description="What must hold; together they are the condition GatesPassed."
    )
    analysis: Analysis = Field(default_factory=Analysis)
    suspend: bool = Field(
        default=False, description="Hold the run: its Jobs are deleted, no time limit runs, what was measured stays."
    )
    cancel: Literal["None", "Graceful", "Immediate"] = Field(
        default="None",
        description="End the run and keep what is measured. Graceful: shards that run may finish. Immediate: they are stopped.",
    )
