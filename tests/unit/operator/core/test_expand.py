"""From a run and what its names resolve to, to the request document or the reason why there is none."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from support.builders import NOW, document_of, observed_run, references, run_spec, runner_class, video_model

from vidbench_api.architectures import ARCHITECTURES
from vidbench_api.catalogue import CATALOGUE
from vidbench_api.identity import canonical_json, digest_of
from vidbench_api.kinds import ModelDefaults, VideoModelSpec
from vidbench_api.names import ConditionReason
from vidbench_api.request import Cell, RequestDocument
from vidbench_api.run_spec import BenchmarkRunSpec
from vidbench_api.rungs import rungs_of
from vidbench_operator.core.expand import Accepted, Refusal, Waiting, accept, combinations
from vidbench_operator.core.observed import References


def expand(refs: References | None = None, *, later: float = 0.0, **spec: Any) -> Accepted | Waiting | Refusal:
    """Accept a run `later` seconds after its creation."""
    run = observed_run(run_spec(**spec))
    return accept(run, refs or references(run.spec), CATALOGUE, NOW + later)


def cells(refs: References | None = None, **spec: Any) -> tuple[Cell, ...]:
    outcome = expand(refs, **spec)
    assert isinstance(outcome, Accepted), outcome
    return outcome.document.cells


def names(found: tuple[Cell, ...]) -> list[str]:
    return [f"{cell.model}/{cell.hardware}/{cell.variant}" for cell in found]


def test_a_variant_that_says_nothing_gets_the_models_defaults() -> None:
    (cell,) = cells()
    assert (cell.dtype, cell.height, cell.width, cell.frames, cell.steps) == ("bfloat16", 480, 832, 33, 30)
    assert (cell.backend, cell.frames_per_second, cell.arguments) == ("diffusers", 16, {})


def test_a_variant_overlays_what_it_gives_and_nothing_else() -> None:
    (cell,) = cells(variants=[{"name": "short", "dtype": "float16", "clip": {"frames": 5}, "steps": 2}])
    assert (cell.dtype, cell.height, cell.width, cell.frames, cell.steps) == ("float16", 480, 832, 5, 2)


def test_arguments_of_the_variant_win_over_those_of_the_model() -> None:
    model = video_model()
    defaults = model.defaults.model_copy(update={"arguments": {"guidance_scale": "5.0", "eta": "0"}})
    refs = references(models={"wan": model.model_copy(update={"defaults": defaults})})
    (cell,) = cells(refs, variants=[{"name": "v", "arguments": {"guidance_scale": "1.5"}}])
    assert cell.arguments == {"guidance_scale": 1.5, "eta": 0}


MATRIX = {"models": ["a", "b"], "hardware": ["h100", "l40s"], "variants": ["short", "long"]}


@pytest.mark.parametrize(
    ("exclude", "left"),
    [
        pytest.param([], 8, id="nothing excluded leaves the product"),
        pytest.param([{"model": "a"}], 4, id="a model goes everywhere"),
        pytest.param([{"model": "a", "hardware": "h100"}], 6, id="a model goes from one hardware"),
        pytest.param([{"model": "a", "hardware": "h100", "variant": "long"}], 7, id="one cell goes"),
        pytest.param([{"variant": "long"}, {"hardware": "l40s"}], 2, id="entries add up"),
        pytest.param([{"variant": "long"}, {"variant": "long"}], 4, id="twice is once"),
    ],
)
def test_exclusions_take_away_the_cells_that_match_all_that_they_name(exclude: list[dict[str, str]], left: int) -> None:
    found = cells(**MATRIX, matrix={"exclude": exclude})
    assert len(found) == left
    assert len({cell.id for cell in found}) == left
    assert not [
        cell
        for cell in found
        for entry in exclude
        if entry.items() <= {"model": cell.model, "hardware": cell.hardware, "variant": cell.variant}.items()
    ]


def test_a_variant_that_is_only_for_some_models_is_left_out_for_the_others() -> None:
    found = cells(models=["a", "b"], variants=["both", {"name": "mine", "onlyFor": ["b"]}])
    assert names(found) == ["a/default/both", "b/default/both", "b/default/mine"]


def test_the_cells_of_the_document_are_the_combinations_of_the_spec_in_its_order() -> None:
    spec = run_spec(**MATRIX, matrix={"exclude": [{"model": "b", "variant": "short"}]})
    wanted = [f"{model.name}/{hardware.name}/{variant.name}" for model, hardware, variant in combinations(spec)]
    assert names(document_of(observed_run(spec)).cells) == wanted


def test_a_matrix_without_a_cell_is_refused() -> None:
    outcome = expand(matrix={"exclude": [{"model": "wan"}]})
    assert outcome == Refusal(ConditionReason.NO_CELLS, "spec.matrix.exclude and onlyFor leave no cell to measure")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        pytest.param("5.0", 5.0, id="a float stays a float"),
        pytest.param("5", 5, id="an integer stays an integer"),
        pytest.param("true", True, id="a boolean is no number"),
        pytest.param("null", None, id="null is a value"),
        pytest.param('"5"', "5", id="a quoted number is text"),
        pytest.param(' "a b" ', "a b", id="space round it is ignored"),
    ],
)
def test_an_argument_is_the_json_scalar_that_its_text_holds(text: str, value: object) -> None:
    (cell,) = cells(variants=[{"name": "v", "arguments": {"x": text}}])
    assert cell.arguments["x"] == value
    assert type(cell.arguments["x"]) is type(value)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="nothing"),
        pytest.param("cat", id="a bare word"),
        pytest.param("[1]", id="a list"),
        pytest.param('{"a": 1}', id="an object"),
        pytest.param("NaN", id="NaN"),
        pytest.param("-Infinity", id="an infinity"),
        pytest.param("1e999", id="a number that no double holds"),
        pytest.param("'x'", id="single quotes"),
    ],
)
def test_an_argument_that_is_no_json_scalar_is_refused_by_its_field(text: str) -> None:
    outcome = expand(variants=[{"name": "v", "arguments": {"x": text}}])
    assert isinstance(outcome, Refusal)
    assert outcome.reason is ConditionReason.INVALID_VARIANT
    assert outcome.message.startswith("spec.variants[v].arguments[x] (model 'wan')")


def test_a_bare_word_is_answered_with_how_to_write_it() -> None:
    outcome = expand(variants=[{"name": "v", "arguments": {"scheduler": "euler"}}])
    assert isinstance(outcome, Refusal)
    assert outcome.message.endswith(r'write a string as "\"euler\""')


@pytest.mark.parametrize(
    "variants", [["default"], [{"name": "v", "dtype": "bfloat16"}]], ids=["by default", "asked for"]
)
def test_a_type_that_the_model_forbids_is_refused(variants: list[Any]) -> None:
    refs = references(models={"wan": video_model(forbiddenDtypes=["bfloat16"])})
    outcome = expand(refs, variants=variants)
    assert isinstance(outcome, Refusal)
    assert outcome.reason is ConditionReason.INVALID_VARIANT
    assert "model 'wan' cannot run in bfloat16" in outcome.message


@pytest.mark.parametrize(
    ("defaults", "variant", "offload", "tiling"),
    [
        pytest.param({}, {}, "None", False, id="nobody says anything"),
        pytest.param({"offload": "Model", "vaeTiling": True}, {}, "Model", True, id="the model says"),
        pytest.param({}, {"offload": "Group", "vaeTiling": True}, "Group", True, id="the variant says"),
        pytest.param(
            {"offload": "Model", "vaeTiling": True},
            {"offload": "None", "vaeTiling": False},
            "None",
            False,
            id="the variant takes back what the model says",
        ),
    ],
)
def test_offload_and_tiling_are_the_models_unless_the_variant_says_otherwise(
    defaults: dict[str, Any], variant: dict[str, Any], offload: str, *, tiling: bool
) -> None:
    model = video_model()
    wire = model.to_wire()
    model = video_model(defaults=wire["defaults"] | defaults)
    (cell,) = cells(references(models={"wan": model}), variants=[{"name": "v", **variant}])
    assert (cell.offload, cell.vae_tiling) == (offload, tiling)


def test_offload_without_a_gpu_is_refused_before_anything_runs() -> None:
    outcome = expand(hardware=[{"name": "cpu", "gpus": 0}], variants=[{"name": "low", "offload": "Model"}])
    assert isinstance(outcome, Refusal)
    assert outcome.reason is ConditionReason.INVALID_VARIANT
    assert outcome.message.startswith(
        "spec.variants[low].offload: Model needs a GPU to offload from, and hardware 'cpu'"
    )


URGENT = {"priorityClassName": "urgent"}
ANY_PRIORITY = {"allowedPriorityClasses": ["*"]}
GPU = {"name": "gpu", "nodeSelector": {"gpu.product": "H100"}, "tolerations": [{"key": "gpu", "operator": "Exists"}]}


@pytest.mark.parametrize(
    ("allowed", "reason", "field"),
    [
        pytest.param({"allowedNamespaces": ["prod"]}, ConditionReason.NAMESPACE_NOT_ALLOWED, "'lab'", id="namespace"),
        pytest.param(
            {"allowedNamespaces": []}, ConditionReason.NAMESPACE_NOT_ALLOWED, "'lab'", id="no namespace at all"
        ),
        pytest.param(
            {"allowedSelectorKeys": ["zone"]},
            ConditionReason.SELECTOR_NOT_ALLOWED,
            "[gpu].nodeSelector",
            id="selector key",
        ),
        pytest.param(
            {"allowedTolerationKeys": ["spot"]},
            ConditionReason.TOLERATION_NOT_ALLOWED,
            "[gpu].tolerations",
            id="toleration",
        ),
        pytest.param(
            {"allowedResourceNames": ["amd.com/gpu"]},
            ConditionReason.RESOURCE_NOT_ALLOWED,
            "[gpu].resourceName",
            id="resource",
        ),
        pytest.param(
            {"allowedPriorityClasses": ["low"]},
            ConditionReason.PRIORITY_CLASS_NOT_ALLOWED,
            "spec.scheduling.priorityClassName",
            id="priority class",
        ),
        pytest.param(
            {"allowedPriorityClasses": []},
            ConditionReason.PRIORITY_CLASS_NOT_ALLOWED,
            "does not allow 'urgent'",
            id="no priority class by default",
        ),
    ],
)
def test_what_the_class_does_not_allow_is_refused_by_its_field(
    allowed: dict[str, Any], reason: ConditionReason, field: str
) -> None:
    outcome = expand(
        references(runner_class=runner_class(**(ANY_PRIORITY | allowed))), hardware=[GPU], scheduling=URGENT
    )
    assert isinstance(outcome, Refusal)
    assert (outcome.reason, field in outcome.message) == (reason, True)


@pytest.mark.parametrize(
    "allowed",
    [
        pytest.param({"allowedNamespaces": ["prod", "lab"]}, id="the namespace is named"),
        pytest.param({"allowedSelectorKeys": ["gpu.product"]}, id="the selector key is named"),
        pytest.param({"allowedTolerationKeys": ["gpu"]}, id="the toleration key is named"),
        pytest.param({"allowedResourceNames": ["*"]}, id="every resource"),
        pytest.param({"allowedPriorityClasses": ["urgent"]}, id="the priority class is named"),
        pytest.param({"allowedPriorityClasses": ["*"]}, id="every priority class"),
    ],
)
def test_what_the_class_allows_is_accepted(allowed: dict[str, Any]) -> None:
    outcome = expand(
        references(runner_class=runner_class(**(ANY_PRIORITY | allowed))), hardware=[GPU], scheduling=URGENT
    )
    assert isinstance(outcome, Accepted)


def test_a_run_without_a_priority_needs_no_permission_for_one() -> None:
    assert isinstance(expand(references(runner_class=runner_class())), Accepted)


def test_a_toleration_of_every_key_needs_a_class_that_allows_every_key() -> None:
    everything = [{"name": "gpu", "tolerations": [{"operator": "Exists"}]}]
    named = references(runner_class=runner_class(allowedTolerationKeys=["gpu"]))
    assert isinstance(expand(named, hardware=everything), Refusal)
    assert isinstance(expand(hardware=everything), Accepted)


def test_the_resource_of_a_cpu_cell_is_not_asked_about() -> None:
    refs = references(runner_class=runner_class(allowedResourceNames=[]))
    assert isinstance(expand(refs, hardware=[{"name": "cpu", "gpus": 0}]), Accepted)


MISSING = [
    pytest.param(
        references(runner_class=None), {}, ConditionReason.RUNNER_CLASS_NOT_FOUND, "does not exist", id="no class"
    ),
    pytest.param(
        references(runner_class=None, broken={"RunnerClass/default": "spec.image: too long"}),
        {}, ConditionReason.RUNNER_CLASS_NOT_FOUND, "cannot be read: spec.image: too long", id="a class that cannot be read",
    ),
    pytest.param(
        references(models={}), {}, ConditionReason.MODEL_NOT_FOUND, "the catalogue has no entry of that name", id="no model"
    ),
    pytest.param(
        references(models={}), {"models": [{"name": "wan", "modelRef": {"name": "tiny-wan"}}]},
        ConditionReason.MODEL_NOT_FOUND, "VideoModel 'tiny-wan' does not exist in namespace 'lab'",
        id="a reference does not fall back on the catalogue",
    ),
    pytest.param(
        references(models={}, broken={"VideoModel/tiny-wan": "spec.source: empty"}), {"models": ["tiny-wan"]},
        ConditionReason.MODEL_NOT_FOUND, "cannot be read: spec.source: empty",
        id="a broken override does not fall back on the catalogue",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("refs", "spec", "reason", "text"), MISSING)
def test_what_is_missing_is_waited_for_until_the_limit_and_then_refused(
    refs: References, spec: dict[str, Any], reason: ConditionReason, text: str
) -> None:
    timeouts = {"schedulingSeconds": 100}
    before, after = (expand(refs, later=later, timeouts=timeouts, **spec) for later in (99.9, 100.0))
    assert isinstance(before, Waiting)
    assert (before.reason, text in before.message) == (reason, True)
    assert isinstance(after, Refusal)
    assert after.reason is reason
    assert after.message == f"{before.message}; waited schedulingSeconds (100 s) for it"


def test_a_run_whose_names_appear_after_the_limit_is_still_accepted() -> None:
    assert isinstance(expand(later=1e6), Accepted)


def test_a_model_of_the_catalogue_needs_no_object() -> None:
    (cell,) = cells(references(models={}), models=["tiny-wan"])
    assert (cell.backend, cell.pipeline_class, cell.steps) == ("tiny", "WanPipeline", 4)


@pytest.mark.parametrize(
    ("name", "why"),
    [
        pytest.param("veo-3-1", "closed service", id="a closed service"),
        pytest.param("sora-2", "shut the Sora 2 models", id="a service that is gone"),
        pytest.param("cosmos1-7b-t2w", "safety checker", id="a model whose class is not built here"),
    ],
)
def test_what_the_catalogue_lists_and_nothing_runs_is_refused_at_once_with_the_reason(name: str, why: str) -> None:
    outcome = expand(references(models={}), models=[name])
    assert isinstance(outcome, Refusal)
    assert outcome.reason is ConditionReason.MODEL_NOT_RUNNABLE
    assert outcome.message.startswith(f"spec.models[{name}]: ")
    assert why in outcome.message


def test_a_model_of_the_namespace_overrides_a_row_that_nothing_runs() -> None:
    (cell,) = cells(references(models={"veo-3-1": video_model()}), models=["veo-3-1"])
    assert cell.backend == "diffusers"


def test_a_broken_override_of_a_row_that_nothing_runs_is_waited_for() -> None:
    outcome = expand(references(models={}, broken={"VideoModel/veo-3-1": "spec.source: empty"}), models=["veo-3-1"])
    assert isinstance(outcome, Waiting)
    assert "spec.source: empty" in outcome.message


def test_an_open_model_of_the_catalogue_resolves_to_its_class_and_defaults() -> None:
    (cell,) = cells(references(models={}), models=["cogvideox-2b"])
    assert (cell.backend, cell.pipeline_class, cell.dtype) == ("diffusers", "CogVideoXPipeline", "float16")
    assert (cell.height, cell.width, cell.frames, cell.steps) == (480, 720, 49, 50)
    assert cell.source.hub is not None
    assert (cell.source.hub.id, cell.source.hub.commit) == ("zai-org/CogVideoX-2b", None)
    assert cell.arguments == {"guidance_scale": 6.0}


def test_a_dtype_that_the_model_forbids_is_refused_with_those_that_it_allows() -> None:
    outcome = expand(references(models={}), models=["cogvideox-5b"], variants=[{"name": "v", "dtype": "float16"}])
    assert outcome == Refusal(
        ConditionReason.INVALID_VARIANT,
        "spec.variants[v].dtype: model 'cogvideox-5b' cannot run in float16; it can in float32, bfloat16",
    )


def test_cells_of_a_model_without_a_commit_are_like_themselves_alone() -> None:
    def hashes(uid: str, name: str) -> str:
        run = observed_run(run_spec(models=[name]), uid=uid)
        outcome = accept(run, references(run.spec, models={}), CATALOGUE, NOW)
        assert isinstance(outcome, Accepted), outcome
        return outcome.document.cells[0].generation_hash

    assert hashes("u1", "cogvideox-2b") == hashes("u1", "cogvideox-2b") != hashes("u2", "cogvideox-2b")
    assert hashes("u1", "tiny-wan") == hashes("u2", "tiny-wan")


RANDOM = {"name": "wan21-1-3b", "weights": "Random"}


def test_random_weights_are_built_from_the_architecture_of_that_name_and_digest() -> None:
    (cell,) = cells(references(models={}), models=[RANDOM])
    assert (cell.backend, cell.weights, cell.pipeline_class) == ("random", "Random", "WanPipeline")
    assert cell.architecture is not None
    assert (cell.architecture.name, cell.architecture.digest) == ("wan21-1-3b", ARCHITECTURES["wan21-1-3b"].digest)
    assert rungs_of(cell) == rungs_of(cell.model_copy(update={"backend": "diffusers"})) != ()


def test_weights_decide_the_identity_and_random_ones_are_alike_in_every_run() -> None:
    def hash_of(uid: str, model: dict[str, str]) -> str:
        run = observed_run(run_spec(models=[model]), uid=uid)
        outcome = accept(run, references(run.spec, models={}), CATALOGUE, NOW)
        assert isinstance(outcome, Accepted), outcome
        return outcome.document.cells[0].generation_hash

    assert hash_of("u1", RANDOM) == hash_of("u2", RANDOM) != hash_of("u1", {"name": "wan21-1-3b"})


@pytest.mark.parametrize(
    ("model", "says"),
    [
        pytest.param(video_model(), "it is not known", id="a model without an architecture"),
        pytest.param(video_model(architecture="no-such"), "it is not known", id="an unknown architecture"),
        pytest.param(video_model(architecture="mochi-1"), "mochi-1 is a MochiPipeline", id="one of another class"),
    ],
)
def test_random_weights_without_a_known_configuration_are_refused_with_those_that_are_known(
    model: VideoModelSpec, says: str
) -> None:
    outcome = expand(references(models={"mine": model}), models=[{"name": "mine", "weights": "Random"}])
    assert isinstance(outcome, Refusal)
    assert outcome.reason is ConditionReason.ARCHITECTURE_NOT_KNOWN
    assert outcome.message.startswith("spec.models[mine].weights: ")
    assert says in outcome.message
    assert "known are wan21-1-3b, wan21-14b" in outcome.message or "mochi" in says


def test_a_model_of_ones_own_may_have_a_known_architecture() -> None:
    mine = video_model(pipelineClass="MochiPipeline", architecture="mochi-1")
    (cell,) = cells(references(models={"mine": mine}), models=[{"name": "mine", "weights": "Random"}])
    assert cell.architecture is not None
    assert cell.architecture.name == "mochi-1"


def test_weights_of_a_tiny_model_are_random_whatever_is_asked_for() -> None:
    for weights in ("Pretrained", "Random"):
        (cell,) = cells(references(models={}), models=[{"name": "tiny-wan", "weights": weights}])
        assert (cell.backend, cell.weights, cell.architecture) == ("tiny", "Random", None)


def test_weights_alone_are_the_least_that_a_model_is_expected_to_take() -> None:
    """(5,680,910,336 + 14,288,491,584) x 2 bytes and 126,892,531 x 4 bytes of the VAE, in MiB."""
    spec = {"models": ["wan21-14b"], "variants": [{"name": "small", "clip": {"frames": 5}}]}
    (cell,) = cells(references(models={}), **spec)
    assert cell.estimated_memory_mebibytes == 38_572
    (wide,) = cells(references(models={}), models=["wan21-14b"], variants=[{"name": "v", "dtype": "float32"}])
    assert wide.estimated_memory_mebibytes == 76_661


def test_a_published_estimate_that_is_larger_than_the_weights_wins_for_a_default_clip() -> None:
    found = cells(references(models={}), models=["mochi-1"], variants=["v", {"name": "w", "clip": {"frames": 7}}])
    assert [cell.estimated_memory_mebibytes for cell in found] == [40_054, 29_086]


def test_a_model_of_the_namespace_overrides_the_catalogue() -> None:
    (cell,) = cells(references(models={"tiny-wan": video_model()}), models=["tiny-wan"])
    assert cell.backend == "diffusers"


def big_spec(models: int, variants: int, text: str) -> BenchmarkRunSpec:
    arguments = {f"argument{position}": f'"{text}"' for position in range(16)}
    return run_spec(
        models=[f"m{position}" for position in range(models)],
        variants=[{"name": f"v{position}", "arguments": arguments} for position in range(variants)],
    )


def test_a_document_that_no_config_map_holds_is_refused() -> None:
    run = observed_run(big_spec(20, 10, "x" * 200))
    outcome = accept(run, references(run.spec), {}, NOW)
    assert isinstance(outcome, Refusal)
    assert outcome.reason is ConditionReason.REQUEST_TOO_LARGE
    assert "the limit is 524288" in outcome.message


def test_the_same_run_and_references_give_the_same_bytes_whatever_the_order_of_keys() -> None:
    run = observed_run(run_spec(variants=[{"name": "v", "arguments": {"a": "1", "b": "2"}}]))
    other = observed_run(run_spec(variants=[{"name": "v", "arguments": {"b": "2", "a": "1"}}]))
    one, two = document_of(run), document_of(replace(other, resource_version="9", generation=4))
    assert one.to_text() == two.to_text()
    assert one.digest == two.digest


def test_the_text_of_a_document_reads_back_as_the_same_document() -> None:
    arguments = {"a": "1", "b": "1.0", "c": "true", "d": "null", "e": '"x\\u0000é"'}
    document = document_of(observed_run(run_spec(**MATRIX | {"variants": [{"name": "v", "arguments": arguments}]})))
    back = RequestDocument.from_text(document.to_text())
    assert back == document
    assert back.digest == document.digest
    assert [type(value) for value in back.cells[0].arguments.values()] == [int, float, bool, type(None), str]


CHANGES: list[Any] = [
    pytest.param({"variants": [{"name": "default", "steps": 3}]}, {}, True, id="steps decide pixels"),
    pytest.param({"variants": [{"name": "default", "dtype": "float32"}]}, {}, True, id="the type decides pixels"),
    pytest.param({"variants": [{"name": "default", "memoryCapMebibytes": 24_576}]}, {}, True, id="a cap is what was measured"),
    pytest.param({"variants": [{"name": "default", "vaeTiling": True}]}, {}, True, id="tiling decides pixels"),
    pytest.param({"variants": [{"name": "default", "offload": "Model"}]}, {}, True, id="offload is what was measured"),
    pytest.param({"variants": [{"name": "default", "attention": "NativeMath"}]}, {}, True, id="attention decides pixels"),
    pytest.param({"variants": [{"name": "default", "compile": "Default"}]}, {}, True, id="compiling decides pixels"),
    pytest.param({"variants": [{"name": "default", "componentDtypes": {"vae": "float32"}}]}, {}, True, id="so does a component's type"),
    pytest.param({"variants": [{"name": "default", "attention": "Default", "compile": "None"}]}, {}, False, id="defaults are no change"),
    pytest.param({"workload": {"prompts": [{"id": "cat", "text": "A dog."}]}}, {}, True, id="a prompt decides pixels"),
    pytest.param({"workload": {"prompts": [{"id": "cat", "text": "A cat walks."}], "seeds": {"base": 1}}}, {}, True, id="seeds decide pixels"),
    pytest.param({}, {"runner_class": runner_class(image="vidbench/runner:2")}, True, id="the image decides pixels"),
    pytest.param({"hardware": ["other"]}, {}, False, id="hardware decides time"),
    pytest.param({"measurement": {"shards": 4}, "parallelism": 1}, {}, False, id="how it is measured decides nothing"),
    pytest.param({"measurement": {"plan": "Precision"}}, {}, False, id="how many samples are taken decides nothing"),
    pytest.param({"measurement": {"plan": "Repro"}}, {}, True, id="deterministic algorithms decide pixels"),
]  # fmt: skip


@pytest.mark.parametrize(("spec", "changed_references", "differs"), CHANGES)
def test_the_generation_hash_changes_with_what_decides_pixels(
    spec: dict[str, Any], changed_references: dict[str, Any], *, differs: bool
) -> None:
    (before,), (after,) = cells(), cells(references(**changed_references), **spec)
    assert (before.generation_hash != after.generation_hash) is differs


def test_ids_of_cells_hash_names_and_the_uid_and_never_content() -> None:
    (before,) = cells()
    defaults = ModelDefaults(height=8, width=8, frames=1, steps=1)
    (after,) = cells(references(models={"wan": video_model(defaults=defaults)}))
    assert before.id == after.id
    other = observed_run(uid="another")
    assert document_of(other).cells[0].id != before.id


def test_a_changed_copy_of_a_document_has_a_digest_of_its_own() -> None:
    document = document_of(observed_run(run_spec()))
    before = document.digest
    changed = document.model_copy(update={"warmup": document.warmup + 1})
    assert changed.digest == RequestDocument.from_text(changed.to_text()).digest != before
    assert document.digest == before


def test_a_document_of_an_older_version_keeps_the_digest_of_its_text() -> None:
    document = document_of(observed_run())
    wire = document.to_wire()
    del wire["scheduling"]
    older = canonical_json(wire)
    read = RequestDocument.from_text(older)
    assert read == document
    assert read.digest == digest_of(older) != document.digest


@pytest.mark.parametrize(
    ("measurement", "least", "most"),
    [
        pytest.param({}, 3, 3, id="Fixed: every prompt with every seed"),
        pytest.param({"plan": "Repro"}, 6, 6, id="Repro: every one twice"),
        pytest.param({"plan": "Precision"}, 10, 50, id="Precision: the schema's limits"),
        pytest.param({"plan": "Precision", "samples": {"min": 5, "max": 7}}, 5, 7, id="Precision: the run's limits"),
    ],
)
def test_a_document_says_how_many_samples_a_shard_takes(measurement: dict[str, Any], least: int, most: int) -> None:
    workload = {"prompts": [{"id": "cat", "text": "A cat."}], "seeds": {"base": 4, "count": 3}}
    document = document_of(observed_run(run_spec(workload=workload, measurement=measurement)))
    assert (document.required_samples(), len(document.samples())) == (least, most)
    assert [sample.seed for sample in document.samples()][:6] == [4, 5, 6, 4, 5, 6][:most]


def test_a_cap_of_gpu_memory_without_a_gpu_is_refused_and_with_one_it_is_in_the_cell() -> None:
    variants = [{"name": "small", "memoryCapMebibytes": 24_576}]
    assert cells(variants=variants)[0].memory_cap_mebibytes == 24_576
    run = observed_run(run_spec(variants=variants, hardware=[{"name": "cpu", "gpus": 0}]))
    outcome = accept(run, references(run.spec), {}, NOW)
    assert isinstance(outcome, Refusal)
    assert outcome.reason is ConditionReason.INVALID_VARIANT
    assert outcome.message.startswith("spec.variants[small].memoryCapMebibytes: hardware 'cpu' has gpus: 0")
