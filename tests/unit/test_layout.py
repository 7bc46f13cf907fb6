"""What no linter of imports can see: source roots that stay roots, and what importing a module really pulls in."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCE_ROOTS = ("operator", "runner", "crds", "tests")


@pytest.mark.parametrize("root", SOURCE_ROOTS)
def test_a_source_root_is_no_package(root: str) -> None:
    assert (ROOT / root).is_dir()
    assert not (ROOT / root / "__init__.py").exists(), f"{root}/__init__.py would make `import {root}` this folder"


def test_the_standard_librarys_operator_is_the_one_that_is_imported() -> None:
    script = "import operator, vidbench_operator; print(operator.__name__, operator.itemgetter(0)('a'))"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("operator a\n", "")


def modules_after(statement: str) -> set[str]:
    """Return the names of all modules that a new process has loaded after a statement."""
    script = f"{statement}\nimport sys\nprint('\\n'.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def submodules(package: str, folder: str) -> str:
    """Return the statement that imports every module of a package."""
    path = ROOT / folder / package.replace(".", "/")
    names = [file.relative_to(ROOT / folder).with_suffix("") for file in sorted(path.rglob("*.py"))]
    modules = [".".join(name.parts).removesuffix(".__init__") for name in names]
    assert len(modules) > 1
    return "import " + ", ".join(modules)


FRAMEWORKS = {"kopf", "kubernetes", "kubernetes_asyncio", "aiohttp", "torch", "diffusers", "transformers", "numpy"}
LAYERS = [
    pytest.param(
        submodules("vidbench_api", "crds"),
        FRAMEWORKS | {"vidbench_operator", "vidbench_runner", "vidbench_cli", "structlog", "typer", "rich"},
        id="the contract",
    ),
    pytest.param(
        submodules("vidbench_operator.core", "operator"),
        FRAMEWORKS | {"vidbench_runner", "vidbench_cli", "vidbench_operator.ports", "asyncio", "logging", "structlog"},
        id="deciding",
    ),
    pytest.param(
        submodules("vidbench_analysis", "operator"),
        FRAMEWORKS | {"scipy", "vidbench_operator", "vidbench_store", "asyncio", "logging"},
        id="analysis, until it is used",
    ),
    pytest.param("import vidbench_operator.manifests", FRAMEWORKS | {"structlog"}, id="manifests"),
    pytest.param("import vidbench_operator.reconciler", FRAMEWORKS, id="the reconciler"),
    pytest.param(
        submodules("vidbench_runner.core", "runner"), FRAMEWORKS | {"pynvml", "vidbench_operator"}, id="a trial"
    ),
]


@pytest.mark.parametrize(("statement", "forbidden"), LAYERS)
def test_importing_a_layer_pulls_in_none_of_what_it_must_not_know(statement: str, forbidden: set[str]) -> None:
    loaded = modules_after(statement)
    assert "pydantic" in loaded
    assert loaded & forbidden == set()
