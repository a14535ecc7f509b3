"""What of Cypher a caller may send: reading only, with bounded paths; and label filters written into declared queries.

Neither ArcadeDB nor a Neo4j without roles enforces a read mode, so the text is judged before it is sent: by tokens, not
by a grammar, and what is not known to read is refused.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from serving.errors import ClearwayError

MAX_HOPS = 4
MAX_LENGTH = 8000

_TOKEN = re.compile(
    r"""(?P<space>\s+)
    |(?P<comment>//[^\n]*|/\*.*?\*/)
    |(?P<string>'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*")
    |(?P<quoted>`(?:``|[^`])*`)
    |(?P<number>\d+(?!\.\.)(?:\.\d+)?|\d+)
    |(?P<parameter>\$\w+)
    |(?P<word>[^\W\d]\w*)
    |(?P<mark>\.\.|->|<-|<=|>=|<>|=~|[-+*/%^=<>()\[\]{}.,:|&!?])""",
    re.VERBOSE | re.DOTALL,
)
_WRITES = frozenset(
    [
        "create",
        "merge",
        "delete",
        "detach",
        "set",
        "remove",
        "drop",
        "load",
        "foreach",
        "call",
        "insert",
        "alter",
        "grant",
        "deny",
        "revoke",
        "start",
        "stop",
        "use",
        "terminate",
        "show",
        "finish",
        "explain",
        "profile",
        "import",
        "begin",
        "commit",
        "rollback",
    ]
)
_BEGINS = frozenset(["match", "optional", "unwind", "with", "return"])
_DOTTED = frozenset(["date", "datetime", "localdatetime", "time", "localtime", "duration", "point"])


class CypherRefused(ClearwayError):
    """The text may do more than read, or more than a bounded amount of it."""


@dataclass(frozen=True, slots=True)
class Token:
    kind: str
    text: str
    at: int

    @property
    def low(self) -> str:
        return self.text.lower()


def tokens(query: str) -> list[Token]:
    """The tokens of a query, without spaces and comments.

    Raises:
        CypherRefused: it is too long, or has what no reading query has (``;``, an open string).
    """
    if len(query) > MAX_LENGTH:
        raise _refused(f"the query has {len(query)} characters; at most {MAX_LENGTH} are read")
    found, at = [], 0
    while at < len(query):
        match = _TOKEN.match(query, at)
        if match is None:
            raise _refused(
                f"{query[at]!r} at character {at + 1} cannot be read: one query, without ';' or open strings"
            )
        if match.lastgroup not in ("space", "comment"):
            found.append(Token(str(match.lastgroup), match.group(), at))
        at = match.end()
    return found


def check_reads(query: str) -> None:
    """Refuse what does more than read, calls a procedure, or walks paths of no bounded length.

    Raises:
        CypherRefused: with the word or place that is not allowed.
    """
    found = tokens(query)
    if not found:
        raise _refused("the query is empty")
    if found[0].low not in _BEGINS:
        raise _refused(f"a query begins with MATCH, OPTIONAL MATCH, UNWIND, WITH or RETURN, not {found[0].text!r}")
    for i, token in enumerate(found):
        before = found[i - 1].text if i else ""
        after = found[i + 1].text if i + 1 < len(found) else ""
        if token.kind == "word" and token.low in _WRITES and before not in (".", ":", "|", "&"):
            # `AS set` or `(set)` would be read as names by the server; nobody needs such names.
            raise _refused(f"{token.text} at character {token.at + 1} is not for reading queries")
        if token.kind in ("word", "quoted") and after == "(" and before == "." and _dotted(found, i):
            raise _refused(
                f"{found[i - 2].text}.{token.text}() at character {token.at + 1} is no function of Cypher's own"
            )
    _bounded(found)


def _dotted(found: list[Token], i: int) -> bool:
    return i < 2 or found[i - 2].low not in _DOTTED


def _bounded(found: list[Token]) -> None:
    """Every ``*`` of a relation and every quantifier of a path has an upper bound of at most MAX_HOPS."""
    depth = 0
    for i, token in enumerate(found):
        if token.text == "[":
            depth += 1
        elif token.text == "]":
            depth -= 1
        elif token.text == "*" and _in_relation(found, i, depth):
            _bound(found, i)
        elif token.text in ("+", "*") and i and found[i - 1].text in (")", "->", "-") and _ends_pattern(found, i):
            raise _refused(f"the path quantifier {token.text!r} at character {token.at + 1} has no upper bound")
        elif token.text == "{" and i and found[i - 1].text in (")", "->", "-"):
            _quantified(found, i)


def _in_relation(found: list[Token], i: int, depth: int) -> bool:
    if depth == 0:
        return False
    back = i - 1
    while back >= 0 and (found[back].kind in ("word", "quoted") or found[back].text in (":", "|", "&", "!")):
        back -= 1
    return back > 0 and found[back].text == "[" and found[back - 1].text in ("-", "<-")


def _ends_pattern(found: list[Token], i: int) -> bool:
    return i + 1 < len(found) and (
        found[i + 1].text in ("(", "-", "<-", "->") or found[i + 1].low in ("where", "return")
    )


def _bound(found: list[Token], i: int) -> None:
    numbers: list[str] = []
    dots = False
    j = i + 1
    while j < len(found) and (found[j].kind == "number" or found[j].text == ".."):
        if found[j].text == "..":
            dots = True
        else:
            numbers.append(found[j].text)
        j += 1
    last = found[j - 1]
    if not numbers or (dots and last.text == ".."):
        raise _refused(f"the path at character {found[i].at + 1} has no upper bound; write *1..{MAX_HOPS}")
    if int(float(numbers[-1])) > MAX_HOPS:
        raise _refused(f"the path at character {found[i].at + 1} may have {numbers[-1]} hops; at most {MAX_HOPS}")


def _quantified(found: list[Token], i: int) -> None:
    inside = []
    j = i + 1
    while j < len(found) and found[j].text != "}":
        inside.append(found[j])
        j += 1
    if not inside or any(token.kind != "number" and token.text not in (",",) for token in inside):
        return  # a map or a subquery, not a quantifier
    if inside[-1].text == "," or int(float(inside[-1].text)) > MAX_HOPS:
        raise _refused(f"the path quantifier at character {found[i].at + 1} may have more than {MAX_HOPS} hops")


def _refused(what: str) -> CypherRefused:
    return CypherRefused(what, untouched="the graph.", todo="send one reading query with bounded paths.")
