"""Whether an exception is a fault of the launch, or only a limit of rehearsing it: a false alarm is no better."""

from __future__ import annotations

import importlib.util
import re
import traceback
from collections.abc import Mapping
from typing import Any

from . import guard, result

# Each set of words goes with the types of what says it: a value of a person's, a path or a project's name, may have any
# of them, and makes no limit of a fault.
_NO_GPU = re.compile(
    r"not compiled with CUDA|no NVIDIA driver|no CUDA GPUs|CUDA is not available|CUDA driver|CUDA_HOME|"
    r"active drivers|requires? (?:a |an )?(?:CUDA|GPU|NVIDIA)|\bSM ?[89]\d|CUDA error|cudaGetDevice|no CUDA-capable|"
    r"Invalid device id|needs? a (?:CUDA|GPU)|No backend type associated with device type cuda|devices?: \['cuda'|"
    r"device type:? cuda|torch\.cuda\.is_available|lib(?:cuda|nvidia|cudnn|cublas|nccl)[\w.-]*\.so",
    re.I,
)
_NO_GPU_TYPES = (RuntimeError, AssertionError, OSError, ImportError, ValueError)
_FP8 = re.compile(r"(?:float8|fp8|nvfp4)\b.*(?:support|requir|implement|hardware|capab|available)|'Float8", re.I)
_SHARED_LIBRARY = re.compile(r"\.so[.\d]*: cannot open shared object|undefined symbol|GLIBC|GLIBCXX", re.I)
_HUB = re.compile(
    r"https://huggingface\.co|offline mode is enabled|cannot find the requested files in the|"
    r"is not a (?:local folder|valid model identifier)|couldn't find .* in the cache|Hub\b.*(?:reach|connect)|"
    r"Couldn't reach",
    re.I,
)
_HUB_TYPES = (
    *("OfflineModeIsEnabled", "LocalEntryNotFoundError", "GatedRepoError", "RepositoryNotFoundError"),
    "DatasetNotFoundError",
)
_FAKE_LIMITS = (
    *("UnsupportedOperatorException", "DataDependentOutputException", "DynamicOutputShapeException"),
    *(
        "FakeTensorDeviceMismatchError",
        "UnsupportedFakeTensorException",
        "MetadataMismatchError",
        "NotImplementedError",
        "DataDependentError",
    ),
)
_FAKE_WORDS = re.compile(
    r"[Ff]ake ?[Tt]ensor|[Mm]eta tensor|device type meta|on meta device|\bNYI\b|"
    r"Tensor\.item\(\) cannot be called on meta|data is not allocated|doesn't have storage|"
    r"[Cc]ould not run '[^']*' with arguments from the 'Meta'"
)
_FAKE_WORDS_TYPES = (RuntimeError, AssertionError, NotImplementedError)
_OUT_OF_MEMORY = re.compile(r"can't allocate memory|DefaultCPUAllocator|Cannot allocate memory|out of memory", re.I)
_TE = re.compile(r"\bTE\b|transformer.?engine|\bTHD\b|backend\.attn", re.I)
_MISSING = re.compile(
    r"\b(?:pip|uv) install\s+[`'\"]?([A-Za-z0-9_.-]+)|([A-Za-z0-9_.-]+) is not installed|No module named '([\w.]+)'"
)
_NO_SUCH_NAME = re.compile(  # AutoModel 0.7.0, config/loader.py:328 and 333
    r"^Module '(\w+)[\w.]*' loaded, but cannot resolve attribute"
)
_NOT_HERE = re.compile(
    r"is not installed|not available.*install|(?:pip|uv) install|failed to import|please install", re.I
)


_ATTENTION = "the job takes Transformer Engine's attention where it has that and a GPU, which is not tried here"
_OWN = (
    "nemo_automodel",
    "torch",
    "transformers",
)  # of a tested release, see versions.py: what they lack here, they lack


class Limit(Exception):
    """A rehearsal cannot go on here, for one of the reasons of result.py; the message says why."""

    def __init__(self, reason: str, text: str) -> None:
        super().__init__(text)
        self.reason = reason


def is_of_the_hub(error: BaseException) -> bool:
    """Whether something is on the Hugging Face Hub, and not in this machine's cache."""
    return any(_is_hub(one) for one in _chain(error))


def of_the_hub(error: BaseException) -> str:
    """The words of whatever the error was raised from that name the Hub."""
    told = next((one for one in _chain(error) if _is_hub(one)), error)
    return f"{type(told).__name__}: {' '.join(str(told).split())[:300]}"


def _is_hub(error: BaseException) -> bool:
    if type(error).__name__ in _HUB_TYPES:
        return True
    of_a_system_call = isinstance(error, OSError) and error.errno is not None  # about a file, whatever its name is
    return isinstance(error, OSError) and not of_a_system_call and bool(_HUB.search(str(error)))


def limit_of(error: BaseException, *, job_python: bool, cuda: bool, config: Any) -> dict[str, Any] | None:
    """What kept the rehearsal from going on, as an entry of `partial`; None where the launch is at fault.

    `job_python` says whether the job runs with this Python, `cuda` whether it has GPUs, `config` is the plain mapping.
    """
    chain = list(_chain(error))
    text = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
    if isinstance(error, Limit):
        return result.partial(error.reason, str(error))
    if any(isinstance(one, guard.Forbidden) for one in chain):
        return result.partial(result.FORBIDDEN, str(next(e for e in chain if isinstance(e, guard.Forbidden))))
    if any(isinstance(one, MemoryError) or _says(one, _OUT_OF_MEMORY, (RuntimeError, OSError)) for one in chain):
        return result.partial(result.MEMORY, f"the rehearsal's own memory was used up: {text}")
    for one in chain:
        limit = _of_import(one, job_python=job_python, cuda=cuda) if isinstance(one, ImportError) else None
        if limit is not None:
            return limit
    if not job_python and any(_NOT_HERE.search(str(one)) for one in chain):
        return result.partial(result.PACKAGE, f"this Python is not the job's: {text}", _package(str(error)))
    if cuda and _rests_on_attention(chain, config) and not (job_python and not _has_te()):
        return result.partial(result.PACKAGE, f"{_ATTENTION}: {text}", "transformer_engine")
    if is_of_the_hub(error):
        return result.partial(result.HUB, of_the_hub(error))
    if cuda and any(_says(one, _NO_GPU, _NO_GPU_TYPES) for one in chain):
        return result.partial(result.GPU, text)
    if cuda and config.get("fp8") is not None and any(_says(one, _FP8, (Exception,)) for one in chain):
        return result.partial(result.FP8, text)
    if any(
        type(one).__name__ in _FAKE_LIMITS or _says(one, _FAKE_WORDS, _FAKE_WORDS_TYPES) for one in chain
    ) and not _said_on_purpose(error):
        return result.partial(result.NOT_IMPLEMENTED, text)
    return None


def _says(error: BaseException, words: re.Pattern[str], types: tuple[type[BaseException], ...]) -> bool:
    """Whether an error of one of these types has the words."""
    return isinstance(error, types) and bool(words.search(str(error)))


def _rests_on_attention(chain: list[BaseException], config: Any) -> bool:
    """Whether a refusal speaks of an attention that the configuration leaves to AutoModel.

    AutoModel 0.7.0, models/common/utils.py:515: it is Transformer Engine's where there are
    that and a GPU, else torch's.
    """
    model = config.get("model")
    backend = model.get("backend") if isinstance(model, Mapping) else None
    chosen = isinstance(backend, Mapping) and backend.get("attn") is not None
    return not chosen and any(_TE.search(str(one)) for one in chain)


def _has_te() -> bool:
    return importlib.util.find_spec("transformer_engine") is not None


def _of_import(error: ImportError, *, job_python: bool, cuda: bool) -> dict[str, Any] | None:
    text = " ".join(str(error).split())[:300]
    told = _NO_SUCH_NAME.search(text)
    if told and told[1] in _OWN:
        return None
    package = _package(text) or (error.name or "").split(".")[0] or None
    if _SHARED_LIBRARY.search(text) or (cuda and _NO_GPU.search(text)):
        return result.partial(result.PACKAGE, f"it cannot be loaded on this machine: {text}", package)
    return None if job_python else result.partial(result.PACKAGE, f"this Python is not the job's: {text}", package)


def _package(text: str) -> str | None:
    """The package that a message says is missing."""
    found = _MISSING.search(text)
    return next(filter(None, found.groups())).split(".")[0] if found else None


def _said_on_purpose(error: BaseException) -> bool:
    """Whether AutoModel itself raises a NotImplementedError: it means what it says."""
    if type(error) is not NotImplementedError:
        return False
    frames = traceback.extract_tb(error.__traceback__)
    return bool(frames) and ("/torch/" not in frames[-1].filename) and "rehearse_lib" not in frames[-1].filename


def _chain(error: BaseException | None) -> list[BaseException]:
    """The error and what it was raised from."""
    found: list[BaseException] = []
    while error is not None and error not in found:
        found.append(error)
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return found
