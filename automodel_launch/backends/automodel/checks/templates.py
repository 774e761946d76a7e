"""Templates of conversations: ChatDataset stops without one, and at the first row where Jinja does not read it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

from automodel_launch.backends.automodel import datasets, keys
from automodel_launch.backends.data.rows import seen
from automodel_launch.config import dotted
from automodel_launch.plan.describe import describe, source
from automodel_launch.plan.finding import Finding
from automodel_launch.plan.plan import Plan

_OF_TRANSFORMERS = re.compile(r"\{%-?\s*(end)?generation\s*-?%\}")  # a tag that transformers adds to Jinja


def template(plan: Plan) -> Iterator[Finding]:
    """The config's, else that of the tokenizer's directory: there is one, and Jinja reads it."""
    for key, section in datasets.conversations(plan.config) if plan.visible else ():
        given, name = section.get("chat_template"), f"{key}.tokenizer.{keys.PRETRAINED}"
        folder = seen(plan, dotted.get(plan.config, name)) if given is None and datasets.is_chat(section) else None
        if isinstance(given, str) and "{" in given and not dotted.left_to_the_job(given):
            yield from _unreadable(f"{key}.chat_template ({source(plan, f'{key}.chat_template')})", given, key)
        elif folder is not None and not plan.missing(str(folder)):
            yield from _of_tokenizer(folder, describe(plan, name), key)


def _of_tokenizer(folder: Path, described: str, key: str) -> Iterator[Finding]:
    """transformers takes a file alone before the key of tokenizer_config.json."""
    alone, others = folder / "chat_template.jinja", folder / "additional_chat_templates"
    try:
        if alone.exists():
            yield from _unreadable(f"{described}: its {alone.name}", alone.read_text(encoding="utf-8"), key)
            return
        settings = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):  # other checks look at the directory
        return
    text = settings.get("chat_template") if isinstance(settings, dict) else None
    if not text and not others.exists():
        message = f"{described}: it has no chat_template, as those of base models, and {key} gives none."
        yield Finding("error", "bad-conversations", message, f"+{key}.chat_template=..., as configs/finetune/tiny")
    elif isinstance(text, str):
        yield from _unreadable(f"{described}: its tokenizer_config.json", text, key)


def _unreadable(where: str, text: str, key: str) -> Iterator[Finding]:
    if why := _unread(text):
        fix = f"mend it, or +{key}.chat_template=..., as configs/finetune/tiny"
        yield Finding("error", "bad-conversations", f"{where}: Jinja does not read the template: {why}.", fix)


def _unread(text: str) -> str | None:
    """What Jinja says of it; None where it reads it, or is not here."""
    try:
        from jinja2 import Environment, TemplateSyntaxError
    except ImportError:
        return None
    try:
        Environment(extensions=["jinja2.ext.loopcontrols"]).parse(_OF_TRANSFORMERS.sub("", text))
    except TemplateSyntaxError as error:
        return f"line {error.lineno}, {error.message}".rstrip(".")
    except RecursionError:
        return None
    return None


CHECKS = (template,)
