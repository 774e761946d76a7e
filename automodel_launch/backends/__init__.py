"""What trains in a job. One module or package a backend; a recipe names it: `[tool.runspec] backend = "automodel"`.

Nothing outside a backend's own package knows a key of its config. What the rest of the launcher asks about a config or
a plan is below, and no more: a second framework is one more package and an entry in `_MODULES`.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

from automodel_launch.errors import RecipeError
from automodel_launch.suggest import did_you_mean

if TYPE_CHECKING:
    from automodel_launch.backends.noise import Noise
    from automodel_launch.backends.trackers import Use
    from automodel_launch.plan.finding import Finding
    from automodel_launch.plan.plan import Plan
    from automodel_launch.plan.recipes import Recipe
    from automodel_launch.remote.probes import Results

_MODULES = {
    "automodel": f"{__name__}.automodel.backend",
    "data-prep": f"{__name__}.data_prep.backend",
    "megatron-bridge": f"{__name__}.megatron_bridge.backend",
    "none": f"{__name__}.plain",
    "conversion": f"{__name__}.conversion",
    "curation": f"{__name__}.curation",
    "export-check": f"{__name__}.exported",
}

Config = Mapping[str, Any]


@dataclass(frozen=True)
class Framework:
    """The training framework as an installed package."""

    title: str  # for messages
    distribution: str  # its name for pip
    package: str  # its name for `import`
    version: str  # the release that the backend's checks know
    checkout: str  # where NVIDIA's image has it, installed in editable form
    builds: str | None = None  # where it compiles extensions on a node, as a word for bash
    setup: str = "bash scripts/setup.sh makes .venv with all that training needs; or set `python` in the profile"

    def is_named_by(self, requirement: str) -> bool:
        """A distribution's name, or a requirement such as `nemo-automodel[extra]>=0.7`, is this framework's."""
        name = re.split(r"[\s\[<>=!~;(@]", requirement.strip(), maxsplit=1)[0]
        return re.sub(r"[-_.]+", "-", name).lower() == self.distribution


@dataclass(frozen=True)
class Reference:
    """What a config names outside itself: data, a tokenizer or a model to read, a directory to write."""

    kind: Literal["data", "tokenizer", "model", "output"]
    key: str
    value: Any  # a path, a hub id or, of data, also a list or a mapping of paths
    instead: str = "the path of a directory"  # what takes the place of a hub id
    hub: bool = True  # a hub id would do, too


@dataclass(frozen=True)
class Data:
    """The training data of a config whose identity can be told from files (data_identity.py)."""

    named: tuple[tuple[str, str, Any], ...] = ()  # (form, key, value)
    caches: tuple[str, ...] = ()  # folders that the training fills from them; they are of no use for other data


@dataclass(frozen=True)
class Pace:
    """Keys of a config that say how long a run is, and how often it saves, validates and logs.

    What is learnt does not depend on `free`: with other values the same run goes on. `bound` are those of its length on
    which the order of the samples depends once the data are read more than once; `unbound` says how to have it depend
    on something else, in words behind "or".
    """

    free: tuple[str, ...] = ()
    bound: tuple[str, ...] = ()
    unbound: str | None = None


@dataclass(frozen=True)
class Checkpoints:
    """The checkpoints of a run, as far as its config and model tell.

    `asynchronous`: they are written while the steps go on; `async_key` is what makes it so, None where nothing does.
    """

    directory: str
    steps: int  # of the complete run
    every: int | None  # steps between two; None: at the end of an epoch only
    keep: int | None  # how many recent ones stay on disk; None: all
    bytes: int | None  # of one; None where the model is not known here
    export_bytes: int  # of the export that the last one also holds; 0 without one
    directory_key: str
    every_key: str
    keep_key: str
    asynchronous: bool = False
    async_key: str | None = None


@dataclass(frozen=True)
class Sizes:
    """Sizes of a training for the preview; None where one is not known here.

    `rows` are (label, text) of what is no training, and where `trains` is false, nothing is. `memory` is a formula's:
    bytes of a step on the fullest rank, without what the driver and libraries keep;
    `memory_caveat` says what neither it nor a rehearsal can count.
    """

    parameters: int | None = None
    tokens_per_step: int | None = None
    tokens: int | None = None  # that the run will train on
    data_tokens: int | None = None  # that its data hold
    epochs: float | None = None
    memory: int | None = None
    memory_caveat: str | None = None
    flops_per_token: float | None = None  # operations of a training step, by the shape of the model
    gpu_hours: float | None = None  # that the run will take, at `utilization` of the peak of the profile's GPU
    utilization: float | None = None
    begins: str | None = None  # with which weights a new run begins, in words
    rows: tuple[tuple[str, str], ...] = ()
    trains: bool = True


@dataclass(frozen=True)
class Need:
    """A package that a config asks for, and without which the job fails."""

    module: str  # its name for `import`
    key: str  # that asks for it
    distribution: str | None = None  # its name for pip; None where that is not known


@dataclass(frozen=True)
class Rehearsal:
    """How the framework's own set-up and one step are tried before there is a job (rehearsal/)."""

    program: str  # the script in recipes/ that does it; it is sent to where the job's Python is
    parts: tuple[str, ...]  # files and folders beside it that it is made of
    title: str  # whose set-up it is, for messages
    known: bool  # the recipe starts the framework in the way that is tried; of another script that is only likely
    reads: tuple[str, ...] = ()  # absolute paths that its answer depends on
    variables: tuple[str, ...] = ()  # names of variables that say where the framework finds files


@dataclass(frozen=True)
class Model:
    """A model as one backend tells another about it."""

    hub: str | None = None  # its id on the Hugging Face hub
    family: str | None = None  # model_type of its Hugging Face config
    parameters: int | None = None
    experts: bool = False
    finetunes: bool = False


@dataclass(frozen=True)
class Offer:
    """A launch of another backend: `words` stand behind `launch.py`, and `about` says what they start."""

    words: str
    about: str


@dataclass(frozen=True)
class Start:
    """A directory with weights to begin with; `megatron`: in Megatron's format, else in transformers'."""

    path: str
    megatron: bool


class Backend(Protocol):
    """What each module offers as BACKEND."""

    framework: Framework | None  # None: nothing is known about what the script imports
    keeps: str | None  # what its script does with what is there, started again without a checkpoint; None: not known

    def noise(self) -> Noise:
        """What an attached run leaves to the log."""

    def takes(self, config: Config, key: str) -> bool:
        """The framework reads a key that the config lacks; False where that is not known."""

    def max_steps(self, config: Config) -> int | None:
        """Optimizer steps that the config asks for."""

    def pace(self, config: Config) -> Pace:
        """Keys of its length and cadence, whether the config has them or not."""

    def longer(self, begun: Config, now: Config) -> Iterator[str]:
        """What another length does to a run that goes on, in sentences: the course of the learning rate, say."""

    def checkpoint_dir(self, config: Config, run_dir: str) -> str | None:
        """Where checkpoints go; None where there are none."""

    def references(self, config: Config) -> Iterator[Reference]:
        """Data, tokenizers, the model and directories that the config names."""

    def data(self, config: Config, run_dir: str) -> Data:
        """The data that the run trains on, as far as their identity can be told."""

    def promises(self, plan: Plan) -> Mapping[str, str]:
        """What a job of the plan leaves for later ones, name -> path, in words that a pipeline uses."""

    def trackers(self, config: Config) -> Iterator[Use]:
        """Experiment trackers that the training logs to."""

    def presets(self) -> Mapping[str, Sequence[str]]:
        """Trainings that the framework brings along under names of their own, by family; none where it has none."""

    def offer(self, model: Model) -> Offer | None:
        """How this backend trains a model that another one's config names; None where it has nothing for it."""

    def compiles(self, config: Config) -> str | None:
        """What the training compiles with a C++ compiler, for a message; None: nothing."""

    def keep_limit(self, config: Config) -> tuple[str, int] | None:
        """The key that limits how many recent checkpoints stay, and its number; None: all of them do."""

    def checkpoints(self, plan: Plan) -> Checkpoints | None:
        """Number and size of the run's checkpoints; None without a schedule or without checkpoints."""

    def sizes(self, plan: Plan, with_data: bool = True) -> Sizes:
        """Sizes for the preview; not `with_data`: without those that only a look at each shard tells."""

    def packages(self, config: Config) -> Iterator[Need]:
        """Packages beside the framework's own that the config needs."""

    def rehearsal(self, plan: Plan) -> Rehearsal | None:
        """How the plan can be rehearsed; None where it cannot."""

    def begin_from(self, config: Config, start: Start) -> list[str]:
        """Overrides with which a config, not yet resolved, begins with these weights.

        Raises:
            ConfigError: it cannot.
        """

    def begins_with(self, config: Config) -> str | None:
        """The hub id or directory of the weights that the training begins with; None: they are random, or not known."""

    def phases(self, config: Config) -> Sequence[tuple[str, int, int]]:
        """Name, first and last step of the stretches in which the run trains on other data; none where they stay."""

    def evaluation(self, config: Config, checkpoint: str) -> dict[str, Any]:
        """Of a run's config that with which recipes/evaluate.py evaluates the checkpoint in that directory.

        Raises:
            ConfigError: there is none.
        """

    def versions(self, log: str) -> dict[str, str]:
        """Package -> version, as rank 0's log tells them at its beginning."""

    def checks(self, plan: Plan) -> Iterator[Finding]:
        """Findings about the config, and about files that this machine sees."""

    def questions(self, plan: Plan) -> dict[str, str]:
        """Scripts for bash on the cluster, by name: files that only it sees. They join the others' one round trip."""

    def judge(self, plan: Plan, results: Results) -> Iterator[Finding]:
        """Findings from the answers to `questions`; also where there was nothing to ask."""


def names() -> list[str]:
    """Every backend that a recipe can name."""
    return list(_MODULES)


def get(name: str) -> Backend:
    """The backend of that name.

    Raises:
        KeyError: there is none.
    """
    return importlib.import_module(_MODULES[name]).BACKEND  # type: ignore[no-any-return]  # a module's attribute


def known(name: object) -> Backend | None:
    """The backend that a job's file names; None where that is none, or a later version's."""
    return get(name) if isinstance(name, str) and name in _MODULES else None


def frameworks() -> dict[str, Framework]:
    """Backend -> the framework that it is for."""
    found = {name: get(name).framework for name in _MODULES}
    return {name: framework for name, framework in found.items() if framework}


def offers(recipe: Recipe, model: Model) -> list[tuple[Framework, Offer]]:
    """What the other backends have for a model that `recipe` trains."""
    own = recipe.backend or "none"
    found = [(one.framework, one.offer(model)) for one in map(get, _MODULES) if one is not get(own)]
    return [(framework, offer) for framework, offer in found if framework and offer]


def of(recipe: Recipe) -> Backend:
    """The backend that a recipe names, "none" where it names none.

    Raises:
        RecipeError: there is none of that name.
    """
    name = recipe.backend or "none"
    if name not in _MODULES:
        message = f"{recipe.path}: [tool.runspec] backend = {name!r}: there is no such backend."
        raise RecipeError(f"{message}{did_you_mean(name, _MODULES)}", f"backends: {', '.join(_MODULES)}")
    return get(name)
