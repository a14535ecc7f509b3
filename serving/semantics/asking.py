"""How a question is put to the copilot: the same words in tuning, in evaluation and in service. Pure."""

from __future__ import annotations

import re
from typing import Any

COPILOT = "metric_copilot"
LONGEST_QUESTION = 400  # characters
# What the longest sound reply takes; a reply that is longer is cut and counts as invalid.
MOST_TOKENS = 220
# By which the chat templates of language models tell who speaks.
_MARKUP = re.compile(r"<\|.{0,40}?\|>|</?s>|\[/?INST\]|<<SYS>>|\b(system|assistant|user)\s*:", re.IGNORECASE)


def messages(question: str, values: str) -> list[dict[str, str]]:
    """The chat.

    Args:
        values: which dimensions have the values that the question names, as :class:`serving.semantics.linking.Linker`
            says it.
    """
    return [{"role": "system", "content": values}, {"role": "user", "content": " ".join(question.split())}]


def speaks_for_others(question: str) -> bool:
    """Whether a question holds the markup of a chat, with which it would speak as somebody else; no model is asked."""
    return _MARKUP.search(question) is not None


def body(question: str, values: str, schema: dict[str, Any], model: str = COPILOT) -> dict[str, Any]:
    """The request of a question by OpenAI's protocol; the reply is held to ``schema`` and does not depend on chance."""
    return {
        "model": model,
        "messages": messages(question, values),
        "temperature": 0,
        "max_tokens": MOST_TOKENS,
        "response_format": {"type": "json_schema", "json_schema": {"name": "reply", "schema": schema}},
    }
