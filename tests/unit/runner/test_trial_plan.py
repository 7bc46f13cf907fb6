"""What an attempt has to do, read off the request document."""

from __future__ import annotations

import pytest
from support.requests import CELL, request_document

from vidbench_runner.core.plan import Attempt, PlanError, plan_trial

ATTEMPT = Attempt("0123456789abcdef", CELL, 1, 1)


@pytest.mark.parametrize(
    ("attempt", "word"),
    [
        pytest.param(Attempt("d", "ffffffff", 1, 1), CELL, id="no such cell: says which there are"),
        pytest.param(Attempt("d", CELL, 2, 1), "shard 2", id="no such shard"),
    ],
)
def test_plan_refuses_what_the_document_does_not_have(attempt: Attempt, word: str) -> None:
    with pytest.raises(PlanError, match=word):
        plan_trial(request_document(), attempt)


def test_plan_of_random_weights_names_the_architecture_and_not_the_hub() -> None:
    document = request_document(
        cell={
            "backend": "random",
            "source": {"hub": {"id": "a/b", "commit": "0" * 40}},
            "weights": "Random",
            "architecture": {"name": "mochi-1", "digest": "1" * 64},
        }
    )
    model = plan_trial(document, ATTEMPT).model
    assert (model.backend, model.source, model.commit, model.architecture_digest) == (
        "random",
        "mochi-1",
        None,
        "1" * 64,
    )


def test_plan_takes_the_cell_as_resolved() -> None:
    document = request_document(
        cell={
            "backend": "diffusers",
            "source": {"hub": {"id": "a/b", "commit": "0" * 40}},
            "componentDtypes": {"vae": "float32"},
            "arguments": {"guidance_scale": 5.0},
            "offload": "Group",
            "vaeTiling": True,
            "attention": "NativeMath",
            "compile": "Default",
        },
        prompts=[{"id": "cat", "text": "a cat", "negativeText": "blurry"}],
    )
    plan = plan_trial(document, ATTEMPT)
    assert (plan.model.source, plan.model.commit, plan.model.component_dtypes) == ("a/b", "0" * 40, {"vae": "float32"})
    assert (plan.model.offload, plan.model.vae_tiling) == ("Group", True)
    assert (plan.model.attention, plan.model.compile) == ("NativeMath", "Default")
    first = plan.samples[0].clip
    assert (first.negative_prompt, first.arguments, first.frames) == ("blurry", {"guidance_scale": 5.0}, 5)
