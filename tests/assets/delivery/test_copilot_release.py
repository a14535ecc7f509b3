"""Which plan releases a tuned copilot: one that agrees with what users get only where both know the same metrics."""

from __future__ import annotations

from pathlib import Path

import pytest

from assets.delivery.copilot import users_get_its_like
from assets.domains import current_domain
from assets.training.llm.spec import read_copilot
from assets.training.llm.version import MANIFEST, TUNED
from assets.training.tabular.register import client
from orchestration.copilot import under_way
from serving.models.registry import CHALLENGER, set_alias
from serving.rollout.plan import read_plan
from serving.rollout.read import read_state
from serving.semantics.asking import COPILOT
from serving.settings import Settings
from tests.serving.llm import fake

pytestmark = pytest.mark.integration


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setattr(fake, "MODEL", COPILOT)
    made = Settings(home=tmp_path)
    client(made).create_registered_model(COPILOT)
    return made


def registered(settings: Settings, **tags: str) -> str:
    found = client(settings).create_model_version(COPILOT, source=str(settings.home), tags=tags)
    return str(found.version)


def test_what_users_get_decides_whether_a_challenger_has_to_agree(settings: Settings) -> None:
    base = registered(settings, **{TUNED: "no", MANIFEST: "m1"})
    tuned = registered(settings, **{TUNED: "yes", MANIFEST: "m1"})
    set_alias(COPILOT, CHALLENGER, tuned, settings)
    assert not users_get_its_like(settings), "nobody gets anything"
    fake.log_release(settings, base, 1, weights={fake.arm(base): 100}, done=True)
    assert not users_get_its_like(settings), "the base writes other words"
    fake.log_release(settings, tuned, 2, weights={fake.arm(tuned): 100}, done=True)
    again = registered(settings, **{TUNED: "yes", MANIFEST: "m1"})
    set_alias(COPILOT, CHALLENGER, again, settings)
    assert users_get_its_like(settings)
    renamed = registered(settings, **{TUNED: "yes", MANIFEST: "m2"})
    set_alias(COPILOT, CHALLENGER, renamed, settings)
    assert not users_get_its_like(settings), "after a metric was renamed they must not agree"


def test_both_plans_show_a_tuned_version_to_nobody_first() -> None:
    domain = current_domain()
    declared = read_copilot(domain.folder)
    assert declared is not None
    strict, anew = (
        read_plan(domain.folder / "releases" / f"{name}.yaml", version="2")
        for name in (declared.release, declared.release_anew)
    )
    assert strict.shadow_first
    assert anew.shadow_first
    assert strict.shadow is not None
    assert anew.shadow is not None
    assert strict.shadow.tolerance == 0
    assert anew.shadow.tolerance > 0.9
    assert {m.measure for m in strict.gates.scalars} == {m.measure for m in anew.gates.scalars}


def test_people_ask_while_a_version_is_released_over_another(settings: Settings) -> None:
    base = registered(settings, **{TUNED: "no"})
    assert not under_way(read_state(COPILOT, settings))
    fake.log_release(settings, base, 1, weights={fake.arm(base): 100}, done=True)
    assert not under_way(read_state(COPILOT, settings))
    fake.log_release(settings, "2", 2, weights={fake.arm(base): 80, fake.arm("2"): 20}, done=False)
    assert under_way(read_state(COPILOT, settings))
