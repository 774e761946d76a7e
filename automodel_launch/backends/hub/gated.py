"""Models of the Hugging Face hub that need a token, by the start of their names.

huggingface.co/docs/hub/models-gated explains it; their owners decide, and may change, which models are gated.
Each line names a place where a refusal is reported. A model that is not listed may be gated, or private, as well.
"""

from __future__ import annotations

_HUB, _GIT = "https://huggingface.co", "https://github.com"
SOURCES = {
    "meta-llama/": f"{_HUB}/meta-llama/Llama-3.1-8B-Instruct/discussions/107",
    "google/gemma-2b": f"{_HUB}/google/gemma-2b-it/discussions/51",
    "google/gemma-7b": f"{_HUB}/google/gemma-7b-it/discussions/97",
    "google/gemma-2-": f"{_HUB}/google/gemma-2-2b/discussions/14",
    "google/gemma-3-": f"{_GIT}/ariG23498/gemma3-object-detection/issues/5",
    "google/gemma-3n-": f"{_HUB}/google/gemma-3n-E4B-it-litert-lm/discussions/10",
    "mistralai/Mistral-7B-": f"{_GIT}/McGill-NLP/llm2vec/issues/130",
    "mistralai/Mixtral-8x7B-": f"{_GIT}/huggingface/transformers/issues/31367",
}


def known(repository: str) -> bool:
    """The repository is of a family that was gated when the list was made."""
    return repository.startswith(tuple(SOURCES))
