"""Names from data inside Markdown and YAML: always text, never markup."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterator
from typing import Any

from semilla.text import clean

_SPECIAL = re.compile(r"[\\`*_\[\]#|~$@]|:(?=\S)|(?<=www)\.", re.IGNORECASE)
"""What begins emphasis, code, links, a table cell, a formula, or an address that would be linked by itself."""


class Plain(str):
    """Text that is markup already, or cannot be: `markdown` leaves it as it is."""

    __slots__ = ()


def markdown(value: object) -> str:
    """A value as one line of Markdown that shows exactly its characters; control characters are shown as escapes."""
    if isinstance(value, Plain):
        return value
    text = " ".join(clean(value).split())
    return html.escape(_SPECIAL.sub(r"\\\g<0>", text), quote=False)


def yaml(value: dict[str, Any]) -> str:
    """Nested dictionaries and lists as YAML; every text is quoted. The keys must be plain words."""
    return "\n".join(_block(value, ""))


def _block(value: Any, indent: str) -> Iterator[str]:
    if isinstance(value, dict):
        for key, item in value.items():
            if isinstance(item, dict | list) and item:
                yield f"{indent}{key}:"
                yield from _block(item, f"{indent}  ")
            else:
                yield f"{indent}{key}: {_scalar(item)}"
        return
    for item in value:
        if isinstance(item, dict | list) and item:
            first, *others = _block(item, f"{indent}  ")
            yield f"{indent}- {first.lstrip()}"
            yield from others
        else:
            yield f"{indent}- {_scalar(item)}"


def _scalar(value: Any) -> str:
    """One value on one line. JSON's quoting is YAML's, once what YAML forbids in a file was cleaned away."""
    if isinstance(value, float):
        return f"{value:.6f}"  # never an exponent, which YAML 1.1 takes for text
    return json.dumps(clean(value) if isinstance(value, str) else value, ensure_ascii=False, allow_nan=False)
