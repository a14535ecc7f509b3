"""Token buckets, places, and what an answer's parts add up to."""

from __future__ import annotations

import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.gateway.answers import Refusal
from serving.gateway.keys import Caller
from serving.gateway.limits import Bucket, Limits
from serving.gateway.llm_answer import Answer, breaks
from serving.gateway.openai import largest_cost
from tests.serving.llm.fake import spec

ANN = Caller("ann", frozenset({"predict"}), requests_per_minute=2, tokens_per_minute=600)
BOB = Caller("bob", frozenset({"predict"}))


@given(st.lists(st.tuples(st.floats(0, 30), st.integers(1, 100)), max_size=60))
def test_a_bucket_never_gives_more_than_it_holds_and_what_flows_in(asked: list[tuple[float, int]]) -> None:
    bucket, now, given_out = Bucket(60), 0.0, 0
    for pause, amount in asked:
        now += pause
        wait = bucket.wait(amount, now)
        if wait == 0:
            bucket.take(min(amount, 60), now)
            given_out += min(amount, 60)
        else:
            assert copy.copy(bucket).wait(amount, now + wait + 1e-6) == 0  # after the wait it is there
    assert given_out <= 60 + now + 1e-6


def test_a_request_takes_its_largest_cost_and_gets_the_rest_back() -> None:
    limits = Limits()
    ticket = limits.admit(ANN, "m", 500, 4, now=0.0)
    with pytest.raises(Refusal) as caught:
        limits.admit(ANN, "m", 500, 4, now=0.0)
    assert (caught.value.status, caught.value.reason, caught.value.retry_after) == (429, "tokens_per_minute", 40)
    limits.settle(ticket, 20, now=0.0)
    limits.settle(ticket, 20, now=0.0)  # again: nothing
    assert limits.running["m"] == 0
    limits.admit(ANN, "m", 500, 4, now=0.0)
    with pytest.raises(Refusal) as caught:
        limits.admit(ANN, "m", 1, 4, now=0.0)
    assert (caught.value.reason, caught.value.retry_after) == ("requests_per_minute", 30)
    limits.admit(ANN, "m", 5, 4, now=31.0)
    # A request that cost more than was taken leaves a debt; one larger than the bucket still gets its turn.
    ticket = limits.admit(ANN, "m", 10_000, 4, now=1000.0)
    limits.settle(ticket, 1200, now=1000.0)
    with pytest.raises(Refusal, match="wait 60"):
        limits.admit(ANN, "m", 1, 4, now=1000.0)


def test_a_model_takes_so_many_at_once_and_a_refused_request_costs_nothing() -> None:
    limits = Limits()
    tickets = [limits.admit(BOB, "m", 1, 2, now=0.0) for _ in range(2)]
    for _ in range(3):
        with pytest.raises(Refusal) as caught:
            limits.admit(ANN, "m", 1, 2, now=0.0)
        assert caught.value.reason == "overloaded"
    limits.admit(BOB, "other", 1, 2, now=0.0)
    limits.settle(tickets[0], 1)
    limits.admit(ANN, "m", 1, 2, now=0.0)


def test_the_largest_cost_of_a_request() -> None:
    declared = spec(max_model_len=1000)
    assert largest_cost({"max_tokens": 10}, 100, declared) == 60
    assert largest_cost({"max_completion_tokens": 10, "n": 3}, 100, declared) == 180
    assert largest_cost({}, 100, declared) == 1000
    assert largest_cost({"max_tokens": 5000}, 100, declared) == 1000
    assert largest_cost({"max_tokens": "much", "n": "many"}, 100, declared) == 1000


def test_tool_calls_of_a_stream_are_put_together_and_judged() -> None:
    tools = [{"type": "function", "function": {"name": "water", "parameters": {
        "type": "object", "properties": {"litres": {"type": "number"}}, "required": ["litres"]}}}]  # fmt: skip

    def answer(*parts: str) -> Answer:
        found = Answer(0.0)
        for number, part in enumerate(parts):
            function = {"arguments": part, **({"name": "water"} if number == 0 else {})}
            found.read_event({"choices": [{"delta": {"tool_calls": [{"index": 0, "function": function}]}}]})
        return found

    assert answer('{"lit', 'res": 2}').invalid({"tools": tools}) is False
    assert answer('{"lit', 'res": "two"}').invalid({"tools": tools}) is True
    assert answer('{"litres": 2}').invalid({"tools": []}) is True
    assert Answer(0.0).invalid({"tools": tools}) is None


def test_an_unsound_schema_judges_nobody_and_fetches_nothing() -> None:
    assert breaks("{}", {"type": "nonsense"}) is None
    assert breaks("{}", {"$ref": "http://127.0.0.1:9/schema.json"}) is None
    assert breaks("{}", True) is False
    assert breaks("{}", None) is None
