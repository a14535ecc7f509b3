"""A plan's gates as PromQL over what the servers export: the new version compared with the concurrent others.

A query answers one number: by how much the new version is worse, in the gate's own unit. It answers nothing while the
new version has answered fewer requests than asked for, or the other versions none.
"""

from __future__ import annotations

from dataclasses import dataclass

from serving.rollout.gates import LatencyGate, ScalarGate
from serving.rollout.plan import ReleasePlan
from serving.runtime.kubernetes.deployed import Deployed

REQUESTS = {"tabular": "clearway_model_requests_total", "llm": "http_requests_total"}
# vLLM counts calls by the class of their status, and calls of every path.
ERRORS = {"tabular": 'code=~"5.."', "llm": 'status="5xx"'}
REFUSALS = {"tabular": 'code=~"4.."', "llm": 'status="4xx"'}
ANSWERED = {"tabular": "clearway_model_requests_total", "llm": "vllm:request_success_total"}
LATENCIES = {
    ("tabular", "latency_ms"): "clearway_model_latency_seconds_bucket",
    ("llm", "latency_ms"): "vllm:e2e_request_latency_seconds_bucket",
    ("llm", "ttft_ms"): "vllm:time_to_first_token_seconds_bucket",
    ("llm", "inter_token_ms"): "vllm:inter_token_latency_seconds_bucket",
}
LOWEST_QUANTILE = 0.01


@dataclass(frozen=True)
class Check:
    """One gate: ``query`` answers a number that is to be at most ``limit``."""

    gate: str
    query: str
    limit: float

    @property
    def name(self) -> str:
        """The gate as a DNS label."""
        return self.gate.replace("_", "-").replace(".", "-")


class _Arms:
    """Selectors of both sides: one version of the model, and all its others."""

    def __init__(self, plan: ReleasePlan, deployed: Deployed) -> None:
        common = {"model": plan.model, **deployed.metric_labels}
        self._common = ",".join(f'{name}="{value}"' for name, value in sorted(common.items()))
        self._version, self._window, self._kind = plan.version, f"{deployed.window_s}s", deployed.kind
        handler = {"llm": ',handler=~"/v1/.*"', "tabular": ""}[deployed.kind]
        self._calls = REQUESTS[deployed.kind], handler

    def _labels(self, new: bool, more: str = "") -> str:
        compared = "=" if new else "!="
        return f'{self._common},version{compared}"{self._version}"{more}'

    def series(self, metric: str, new: bool, more: str = "") -> str:
        """Selector of a metric of one side.

        vLLM's names carry a colon, which its exporter writes as an underscore for a Prometheus that does not ask for
        every character (before version 3).
        """
        labels = self._labels(new, more)
        head, colon, tail = metric.partition(":")
        return f'{{__name__=~"{head}[:_]{tail}",{labels}}}' if colon else f"{metric}{{{labels}}}"

    def calls(self, new: bool, matching: str = "") -> str:
        """Calls of one side in the window, with ``matching`` those of a class of status."""
        metric, handler = self._calls
        more = handler + (f",{matching}" if matching else "")
        return f"sum(increase({self.series(metric, new, more)}[{self._window}]))"

    def share(self, new: bool, matching: str) -> str:
        """Share of one side's calls, 0 to 1; a class that never occurred has no series, and is none."""
        return f"(({self.calls(new, matching)} or vector(0)) / {self.calls(new)})"

    def quantile(self, new: bool, metric: str, quantile: float) -> str:
        """A quantile of one side's latency in the window, in s, interpolated in the server's own buckets."""
        return f"histogram_quantile({quantile:g}, sum by (le) (rate({self.series(metric, new)}[{self._window}])))"

    def enough(self, least: str) -> str:
        """Holds when the new version has answered ``least`` requests since its pods started, and others any lately."""
        answered = self.series(ANSWERED[self._kind], True)
        return f"and (sum({answered}) >= {least}) and ({self.calls(False)} > 0)"


def checks(plan: ReleasePlan, deployed: Deployed, least: str) -> tuple[list[Check], list[str]]:
    """The gates that the servers' metrics can answer, and a sentence for each that they cannot.

    Args:
        least: requests to the new version before a query answers: a number, or a placeholder of the target's.
    """
    arms = _Arms(plan, deployed)
    found, left = [], []

    def add(gate: str, difference: str, limit: float) -> None:
        found.append(Check(gate, f"({difference})\n{arms.enough(least)}", limit))

    def shares(gate: str, matching: str, limit: float) -> None:
        add(gate, f"{arms.share(True, matching)}\n- {arms.share(False, matching)}", limit)

    shares("errors", ERRORS[deployed.kind], plan.gates.errors.promote_margin)
    for latency in plan.gates.latency:
        metric = LATENCIES.get((deployed.kind, latency.measure))
        if metric is None:
            left.append(f"The gate {latency.name} is not checked: a {deployed.kind} server does not export it.")
        else:
            add(latency.name, _slower(arms, latency, metric), latency.slower)
    for scalar in plan.gates.scalars:
        if scalar.measure == "refused":
            shares("refused", REFUSALS[deployed.kind], scalar.promote_margin)
        else:
            left.append(_unanswered(scalar))
    return found, left


def _slower(arms: _Arms, gate: LatencyGate, metric: str) -> str:
    """By how much the new version is slower, relative.

    That at most ``1 - quantile + promote_margin`` of the new version's requests are slower than stable's quantile, is
    the same as that its quantile at ``quantile - promote_margin`` is not above it.
    """
    of_new = max(LOWEST_QUANTILE, gate.quantile - gate.promote_margin)
    return f"{arms.quantile(True, metric, of_new)}\n/ {arms.quantile(False, metric, gate.quantile)} - 1"


def _unanswered(gate: ScalarGate) -> str:
    return (
        f"The gate {gate.name} is not checked: it is judged request by request, and no metric of the servers tells the "
        "number of one."
    )


def sentences(plan: ReleasePlan, target: str) -> list[str]:
    """What no analysis of metrics does of what Clearway's own gates do; ``target`` is the name of who makes it."""
    return [
        f"{target} compares point estimates of a sliding window with promote_margin. It has no anytime-valid evidence: "
        f"alpha {plan.alpha:g}, promote_evidence {plan.promote_evidence:g}, rollback_margin and restart_s have no "
        "counterpart, so noise may reject a healthy version, and the chance of it grows with every look.",
        f"The gates do not share one error budget: each check of {target} decides alone.",
        "The sample-ratio check (sample_ratio_evidence) is not made: nothing sees that the router's split is not the "
        "declared one.",
        "A latency gate compares with stable's quantile of the same minutes, interpolated in the histogram's buckets, "
        "not with the quantile frozen before the first step, and slack_ms counts for nothing; failed and refused "
        "requests count too.",
        "Errors that no server counted itself are not seen: refused connections, timeouts of the mesh, killed pods.",
        "The decision leaves no decision record; evidence, reason and requested_by are kept as annotations.",
    ]
