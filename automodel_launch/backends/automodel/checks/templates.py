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
    """ChatDataset stops without a template of conversations, of the config's or of the tokenizer's directory."""
    for key, section in datasets.conversations(plan.config) if plan.visible else ():
        name = f"{key}.tokenizer.{keys.PRETRAINED}"
        given, folder = section.get("chat_template"), seen(plan, dotted.get(plan.config, name))
        if not datasets.is_chat(section) or given is not None or folder is None or plan.missing(str(folder)):
            continue
        try:
            described = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
            has = (folder / "chat_template.jinja").exists() or (folder / "additional_chat_templates").exists()
        except (OSError, ValueError):  # other checks look at the directory
            continue
        if not has and not (isinstance(described, dict) and described.get("chat_template")):
            message = f"{describe(plan, name)}: it has no chat_template, as those of base models, and {key} gives none."
            yield Finding("error", "bad-conversations", message, f"+{key}.chat_template=..., as configs/finetune/tiny")


def template_reads(plan: Plan) -> Iterator[Finding]:
    """A template of the config's or the tokenizer's that Jinja does not read: the first row would stop."""
    for key, section in datasets.conversations(plan.config) if plan.visible else ():
        given, name = section.get("chat_template"), f"{key}.tokenizer.{keys.PRETRAINED}"
        folder = seen(plan, dotted.get(plan.config, name)) if given is None else None
        if isinstance(given, str) and "{" in given and not dotted.left_to_the_job(given):
            where, text = f"{key}.chat_template ({source(plan, f'{key}.chat_template')})", given
        elif folder is not None and datasets.is_chat(section) and not plan.missing(str(folder)):
            where, text = _template_of(folder)
            where = f"{describe(plan, name)}: its {where}"
        else:
            continue
        if why := _unread(text):
            fix = f"mend it, or +{key}.chat_template=..., as configs/finetune/tiny"
            yield Finding("error", "bad-conversations", f"{where}: Jinja does not read the template: {why}.", fix)


def _template_of(folder: Path) -> tuple[str, str]:
    """The file's name and its text, empty where it is none; transformers takes the file alone before the key."""
    alone = folder / "chat_template.jinja"
    try:
        if alone.is_file():
            return alone.name, alone.read_text(encoding="utf-8")
        described = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):  # other checks look at the directory
        return "", ""
    found = described.get("chat_template") if isinstance(described, dict) else None
    return "tokenizer_config.json", found if isinstance(found, str) else ""


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


CHECKS = (template, template_reads)
