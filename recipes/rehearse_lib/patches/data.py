"""Data: those that can be seen are read, with a short index; others are made up in their shape."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .. import datasets, megatron_index, outcomes, result, synthetic

if TYPE_CHECKING:
    from ..underway import Run


def apply(run: Run, node: Any) -> None:
    """Have data sets built so, and the index of Megatron data kept in memory."""
    for name in datasets.keys(run.config):
        if node.get(f"{name}.index_mapping_dir", None):
            # With a directory, AutoModel's ranks other than the first one wait for its files.
            node.set_by_dotted(f"{name}.index_mapping_dir", None)
    megatron_index.install()
    _stand_in(run)


def _stand_in(run: Run) -> None:
    # AutoModel 0.7.0, loader.py:622: it opens what is on the job's disks, or loads from the Hub.
    from nemo_automodel.components.datasets.loader import DataloaderConfig

    build = DataloaderConfig._build_dataset

    def build_dataset(self: Any, *, tokenizer: Any, dataset_build_context: Any) -> Any:
        missing = synthetic.unseen(self.dataset_config, run.request.job_python)
        if missing is None:
            try:
                return build(self, tokenizer=tokenizer, dataset_build_context=dataset_build_context)
            except (Exception, SystemExit) as error:  # AutoModel 0.7.0, dist_utils.py: FirstRankPerNode exits
                missing = synthetic.of_the_hub(error)
                if missing is None:
                    raise
        made = synthetic.make(self.dataset_config, tokenizer)
        if made is None:
            text = f"{missing} cannot be seen from here, and the shape of its batches is not known"
            raise outcomes.Limit(result.SYNTHETIC_DATA, text)
        run.notes.append(
            result.partial(
                result.SYNTHETIC_DATA,
                f"the data cannot be seen from here, and batches of their shape stood in: {missing}",
            )
        )
        return made

    DataloaderConfig._build_dataset = build_dataset
