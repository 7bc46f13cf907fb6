"""The tables of docs/models.md: what the catalogue knows, with the mark of every source."""

from __future__ import annotations

from vidbench_api.architectures import ARCHITECTURE_FILE, ARCHITECTURES
from vidbench_api.catalogue import FACTS, NOT_RUNNABLE, Fact, Mark, OpenModel
from vidbench_api.pipeline_classes import PIPELINE_CLASSES

BEGIN, END = "<!-- generated: models -->\n", "<!-- end of generated -->\n"
BEGIN_ARCHITECTURES, END_ARCHITECTURES = "<!-- generated: architectures -->\n", "<!-- end of architectures -->\n"
LETTERS: dict[Mark, str] = {"Verified": "V", "Said": "S", "Unverified": "U"}


def with_models(page: str) -> str:
    """Return a page whose generated parts list architectures, models, services and sources; the rest is kept."""
    page = replaced(page, BEGIN_ARCHITECTURES, END_ARCHITECTURES, architecture_lines())
    return replaced(page, BEGIN, END, [count_line(), "", *model_lines(), "", *service_lines(), "", *source_lines()])


def replaced(page: str, begin: str, end: str, lines: list[str]) -> str:
    """Return a page with other lines between two marks."""
    before, after = page.split(begin, maxsplit=1)[0], page.split(end)[1]
    return before + begin + "\n".join(lines) + "\n" + end + after


def architecture_lines() -> list[str]:
    """Return the table of known configurations, with the parameters of each component and what the weights take."""
    lines = ["| architecture | parameters of components | weights in bfloat16 | sources |", "|---|---|---|---|"]
    for name, architecture in ARCHITECTURES.items():
        counts = {
            part: entry.parameters for part, entry in architecture.components.items() if entry.parameters is not None
        }
        parts = ", ".join(f"{part} {count / 1e9:.2f}B" for part, count in counts.items())
        sources = sorted({entry.source for entry in architecture.components.values()})
        gibibytes = architecture.weights_mebibytes("bfloat16", {}) / 1024
        lines.append(f"| `{name}` | {parts} | {gibibytes:.1f} GiB | {', '.join(sources)} |")
    return [*lines, "", *(f"- {name}: {text}" for name, text in ARCHITECTURE_FILE.sources.items())]


def count_line() -> str:
    """Return how many open models are known, how many a run may name, and which of their classes are not supported."""
    runnable = len(FACTS.models.keys() - NOT_RUNNABLE.keys())
    lacking = sorted({model.pipeline_class.value for model in FACTS.models.values()} - PIPELINE_CLASSES.keys())
    return (
        f'{len(FACTS.models)} open models are known, of which a run may name {runnable} today (column "accepted"). Classes of theirs that are'
        f" not supported: {', '.join(f'`{name}`' for name in lacking)}."
    )


def model_lines() -> list[str]:
    """Return the table of open models."""
    headings = (
        "name", "hub id", "class", "task", "parameters", "height x width x frames", "steps, guidance", "frames/s, grid", "dtype",
        "memory", "licence", "accepted",
    )  # fmt: skip
    lines = ["| " + " | ".join(headings) + " |", "|---" * len(headings) + "|"]
    for name, model in FACTS.models.items():
        size = " x ".join(shown(FACTS.size_of(model, field)) for field in ("height", "width", "frames"))
        defaults = FACTS.classes[model.pipeline_class.value]
        guidance = f", {defaults.guidance:g}" if defaults.guidance is not None else ""
        cells = (
            f"`{name}`", shown(model.hub), shown(model.pipeline_class), shown(model.task), shown(model.parameters), size,
            f"{defaults.steps}{guidance} V", f"{shown(model.frames_per_second)}, {shown(model.frame_grid)}", dtypes(model),
            shown(model.memory), shown(model.licence), "no" if name in NOT_RUNNABLE else "yes",
        )  # fmt: skip
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def dtypes(model: OpenModel) -> str:
    """Return the default type, components that differ, and types that are refused."""
    parts = [shown(model.dtype)]
    if model.component_dtypes is not None:
        components = ", ".join(f"{name} {dtype}" for name, dtype in model.component_dtypes.value.items())
        parts.append(f"{components} {letter(model.component_dtypes)}")
    if model.forbidden_dtypes is not None:
        parts.append(f"never {', '.join(model.forbidden_dtypes.value)} {letter(model.forbidden_dtypes)}")
    return "; ".join(parts)


def service_lines() -> list[str]:
    """Return the table of what is known and not run, closed services among them."""
    lines = ["| not run here | why |", "|---|---|"]
    return lines + [f"| `{name}` | {why} |" for name, why in NOT_RUNNABLE.items()]


def source_lines() -> list[str]:
    """Return the table of sources."""
    lines = ["| source | mark | what |", "|---|---|---|"]
    return lines + [f"| {name} | {LETTERS[entry.mark]} | {entry.text} |" for name, entry in FACTS.sources.items()]


def shown(fact: Fact[str] | Fact[int] | None) -> str:
    """Return a value with the letter of its source's mark; `-` for what is not known."""
    return "-" if fact is None else f"{fact.value} {letter(fact)}"


def letter(fact: Fact[object]) -> str:
    """Return V, S or U."""
    return LETTERS[FACTS.sources[fact.source].mark]
