"""The page of the knowledge in a real Chromium: by keyboard alone, in a phone's width, with passages that want more."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

from serving.gateway import pages
from tests.serving.gateway import test_page
from tests.serving.gateway.test_page import By, Keys, WebDriver, browser, focus, press, text_of, wait, webdriver

pytestmark = test_page.pytestmark
KEY = "cw_right"
ASKED = "why does pump 7 leak?"
HOSTILE = '<img src=x onerror="document.title=1"><script>document.title=2</script> {{7*7}}'
REFUSALS = [(403, "key 'k' has scope feed; this needs read"), (422, "question: expected words"),
            (429, "2 questions are answered and 16 wait"), (503, "no knowledge is published yet")]  # fmt: skip
LONG = "pump of the northern site with a name that has no end " * 3


def passage(number: int, text: str, path: list[str]) -> dict[str, Any]:
    uid = f"Document:manual/{number}#0"
    title = f"Manual {number} {HOSTILE if number == 2 else ''}"
    return {"uid": uid, "document": uid[:-2], "title": title, "text": text,
            "score": 0.5, "ranks": {"dense": 3, "names": 1}, "path": [*path, uid]}  # fmt: skip


def neighbour(predicate: str, name: str, back: bool = False, of: int = 42) -> dict[str, Any]:
    ends = (f"Part:{name}", "Pump:7") if back else ("Pump:7", f"Part:{name}")
    return {"source": ends[0], "predicate": predicate, "target": ends[1], "uid": f"Part:{name}", "name": name,
            "properties": {"since": 2019}, "of": of}  # fmt: skip


def cited(number: int, uid: str) -> dict[str, Any]:
    return {"number": number, "uid": uid, "title": uid, "text": "a text"}


def extracts() -> dict[str, Any]:
    passages = [passage(1, "The pump leaks when its seal is worn.", ["Pump:7"]), passage(3, "Nothing of the kind.", [])]
    passages.insert(1, passage(2, f"A seal lasts two years. {HOSTILE}", ["Pump:7", "Part:seal"]))
    return {
        "question": ASKED, "version": "0123456789abcdef", "methods": ["names", "dense"], "degraded": [],
        "entities": [
            {"uid": "Pump:7", "name": LONG, "kind": "Pump", "matched": "pump 7", "how": "alias"},
            {"uid": "phrase:pump leak", "name": "pump leak", "kind": "phrase", "matched": "pump leak", "how": "name"},
        ],
        "passages": passages,
        "neighbours": [neighbour("HAS_PART", "seal"), neighbour("HAS_PART", "seal"),
                       neighbour("MENTIONS", HOSTILE, True, of=12345),
                       *(neighbour("HAS_PART", f"bolt {n}") for n in range(40))],
        "reports": [{"uid": "Community:1", "title": "Pumps", "text": "40 bolts.", "score": 0.1}],
        "answer": "The pump leaks when its seal is worn. [1] A seal lasts two years. [2] Bolts are many. [4] Or [9].",
        "by": "extracts", "dropped": [], "query": None,
        "citations": [cited(1, passages[0]["uid"]), cited(2, passages[1]["uid"]), cited(4, "Community:1")],
    }  # fmt: skip


def declared() -> dict[str, Any]:
    rows = [{"pump": f"pump {n}", "uid": f"Pump:{n}", "built": 1990 + n, "hours": 12345.678, "parts": ["seal", "bolt"],
             "note": HOSTILE, "place": "a place with a long name " * 3} for n in range(30)]  # fmt: skip
    return {
        **extracts(),
        "question": "which pumps leaked since 2019?",
        "degraded": ["dense: the vectors' server does not answer"],
        "answer": "\n".join(["30 pumps leaked.", *(f"pump {n} leaked. [{n + 1}]" for n in range(20)),
                             "The other 10 are in the table."]),
        "by": "query leaks",
        "citations": [cited(n + 1, f"Pump:{n}") for n in range(20)],
        "query": {"query": "leaks", "version": "0123456789abcdef", "parameters": {"since": "2019-01-01"},
                  "columns": list(rows[0]), "rows": rows, "truncated": False, "score": 0.913,
                  "phrase": "which pumps leaked since {since}?", "description": "Pumps that leaked.",
                  "cypher": "MATCH (p:Pump) RETURN p"},
    }  # fmt: skip


@dataclass
class Fake:
    """The routes that the page calls; ``refusal`` is what the next questions get, else ``found``."""

    found: dict[str, Any] = field(default_factory=extracts)
    refusal: tuple[int, str] | None = None
    asked: list[dict[str, Any]] = field(default_factory=list)
    url: str = ""

    def app(self) -> FastAPI:
        app = FastAPI()
        pages.add_routes(app)

        def refused(status: int, message: str) -> JSONResponse:
            return JSONResponse({"error": {"reason": "some_reason", "message": message}}, status)

        def answered(request: Request, content: dict[str, Any]) -> JSONResponse:
            if request.headers.get("authorization") != f"Bearer {KEY}":
                return refused(401, "the key is not known")
            return JSONResponse(content)

        @app.get("/v1/models")
        async def models(request: Request) -> JSONResponse:
            return answered(request, {"models": [{"model": "regressor"}], "data": [{"id": "writer"}]})

        @app.get("/v1/graph/queries")
        async def queries(request: Request) -> JSONResponse:
            known = {"name": "leaks", "description": "Pumps that leaked.", "questions": ["what leaked since {since}?"]}
            return answered(request, {"version": "1", "queries": [known]})

        @app.post("/v1/retrieval/answer")
        async def answer(request: Request) -> JSONResponse:
            self.asked.append(await request.json())
            return refused(*self.refusal) if self.refusal else answered(request, self.found)

        return app


@pytest.fixture
def fake() -> Iterator[Fake]:
    made = Fake()
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        made.url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        server = uvicorn.Server(uvicorn.Config(made.app(), log_level="warning", timeout_graceful_shutdown=1))
        thread = threading.Thread(target=server.run, args=([listening],), daemon=True)
        thread.start()
        yield made
        server.should_exit = True
        thread.join(10)


def logged(driver: Any) -> list[dict[str, Any]]:
    """Chromium's console since the last call; WebDriver's own type has no such method."""
    return list(driver.get_log("browser"))


@pytest.fixture(params=[(1100, 900), (360, 740)], ids=["desk", "phone"])
def page(request: pytest.FixtureRequest, fake: Fake, tmp_path: Path) -> Iterator[WebDriver]:
    driver = browser(tmp_path / "profile", *request.param)
    driver.get(f"{fake.url}/know#key={KEY}")
    yield driver
    driver.save_screenshot(str(tmp_path / f"{request.node.name}.png"))
    wide = driver.execute_script("return document.documentElement.scrollWidth - window.innerWidth")
    told = ("401", "403", "422", "429", "503")  # refusals are lines of the log too
    errors = [e for e in logged(driver) if e["level"] == "SEVERE" and not any(t in e["message"] for t in told)]
    title, images = driver.title, driver.find_elements(By.TAG_NAME, "img")
    driver.quit()
    assert wide <= 0, "the page is wider than its window"
    assert errors == []
    assert (title, images) in [("Knowledge · Clearway", []), ("Ask · Clearway", [])], "words stay words"


def ask(page: WebDriver, question: str) -> None:
    focus(page, "question", back=page.find_element(By.ID, "answer").is_displayed())
    press(page, Keys.CONTROL + "a", question, Keys.ENTER)


def answered(page: WebDriver, found: dict[str, Any]) -> None:
    wait(page, "an answer", lambda d: text_of(d, "headline") == found["question"])


def attribute(element: Any, name: str) -> str:
    return str(element.get_attribute(name))


def tab_to(page: WebDriver, text: str) -> None:
    for _ in range(60):
        if page.switch_to.active_element.text == text:
            return
        webdriver.ActionChains(page).send_keys(Keys.TAB).perform()
    pytest.fail(f"Tab does not reach {text}")


def hidden_text(page: WebDriver, ident: str) -> str:
    return attribute(page.find_element(By.ID, ident), "textContent")


def test_asked_by_keyboard_and_citations_lead_to_their_passages_and_back(page: WebDriver, fake: Fake) -> None:
    assert "key" not in page.current_url, "the key does not stay in the address"
    ask(page, ASKED)
    answered(page, fake.found)
    assert fake.asked == [{"question": ASKED}]
    assert page.switch_to.active_element.get_attribute("id") == "headline", "a screen reader goes to the answer"
    assert page.find_element(By.ID, "text").get_attribute("aria-live") == "polite"
    assert text_of(page, "text") == fake.found["answer"]
    assert [b.text for b in page.find_elements(By.CSS_SELECTOR, "#text .cite")] == ["[1]", "[2]", "[4]"]
    assert not page.find_element(By.ID, "table").is_displayed()
    tab_to(page, "[2]")
    press(page, Keys.ENTER)
    reached = page.switch_to.active_element
    assert reached.get_attribute("data-uid") == fake.found["citations"][1]["uid"]
    assert HOSTILE in reached.text, "markup of a passage is text"
    assert [m.text for m in reached.find_elements(By.TAG_NAME, "mark")] == [], "seal and years were not asked about"
    assert "names 1, dense 3" in reached.text
    assert [c.text for c in reached.find_elements(By.CLASS_NAME, "chip")][1:] == ["seal", "this passage"]
    tab_to(page, "back to [2]")
    press(page, Keys.ENTER)
    assert page.switch_to.active_element.text == "[2]"
    tab_to(page, "[4]")
    press(page, Keys.SPACE)
    assert page.switch_to.active_element.get_attribute("data-uid") == "Community:1", "its fold is opened"
    assert page.switch_to.active_element.is_displayed()
    marks = page.find_elements(By.CSS_SELECTOR, "#passages li:first-child mark")
    assert [m.text for m in marks] == ["pump", "leaks"]


def test_the_graph_is_drawn_within_bounds_and_told_as_a_list(page: WebDriver, fake: Fake) -> None:
    ask(page, ASKED)
    answered(page, fake.found)
    picture = page.find_element(By.CSS_SELECTOR, "#drawing svg[role=img]")
    assert "1 thing of the question and 23 neighbours" in attribute(picture, "aria-label")
    assert len(picture.find_elements(By.CSS_SELECTOR, ".node")) == 24
    assert "phrase" not in text_of(page, "named")
    assert "19 further neighbours are in the list alone" in text_of(page, "named")
    assert hidden_text(page, "named").endswith("Of many relations some are told: mentions, 1 of 12,345")
    titles = [attribute(t, "textContent") for t in picture.find_elements(By.CSS_SELECTOR, ".node title")]
    assert f"{LONG} (Pump:7)" in titles
    assert f"{HOSTILE} (Part:{HOSTILE})" in titles
    cut = attribute(picture.find_element(By.CSS_SELECTOR, ".asked text"), "textContent")
    assert "…" in cut
    assert len(cut) < len(LONG)
    outside = """const all = document.querySelector("#drawing svg").getBoundingClientRect();
        return [...document.querySelectorAll("#drawing text")].filter((one) => { const r = one.getBoundingClientRect();
          const node = one.closest(".node"), to = node ? node.querySelector("rect").getBoundingClientRect() : all;
          return r.left < to.left - 1 || r.right > to.right + 1 || r.bottom > all.bottom + 1 || r.top < all.top - 1; })
          .map((one) => one.textContent)"""
    assert page.execute_script(outside) == [], "words leave their box"
    lines = [attribute(one, "textContent") for one in page.find_elements(By.CSS_SELECTOR, "#listed li")]
    assert lines[0] == f"{LONG} has part seal (2 times)"
    assert lines[1] == f"{HOSTILE} mentions {LONG} (since 2019)"


def test_a_relation_between_two_things_of_the_question_counts_once(page: WebDriver, fake: Fake) -> None:
    part = {"uid": "Part:seal", "name": "seal", "kind": "Part", "matched": "seal", "how": "name"}
    there = neighbour("HAS_PART", "seal", of=1)
    fake.found["entities"].append(part)
    fake.found["neighbours"] = [there, {**there, "uid": "Pump:7", "name": LONG}]
    ask(page, ASKED)
    answered(page, fake.found)
    assert hidden_text(page, "listed") == f"{LONG} has part seal (since 2019)"
    assert "some are told" not in text_of(page, "named")
    fake.found["neighbours"][0]["of"] = 9
    ask(page, ASKED)
    wait(page, "what is left out", lambda d: hidden_text(d, "named").endswith(f"has part, 1 of 9 at {LONG}"))


def test_a_declared_query_is_told_with_its_rows(page: WebDriver, fake: Fake) -> None:
    fake.found = declared()
    ask(page, "which pumps leaked since 2019?")
    answered(page, fake.found)
    assert "declared query leaks; 30 rows" in text_of(page, "meta")
    assert "vectors' server" in text_of(page, "degraded")
    assert len(page.find_elements(By.CSS_SELECTOR, "#rows tbody tr")) == 30
    assert "The other 10 are in the table." in text_of(page, "text")
    cells = [c.text for c in page.find_elements(By.CSS_SELECTOR, "#rows tbody tr:first-child td")]
    assert cells[:7] == ["1", "pump 0", "Pump:0", "1990", "12,346", "seal, bolt", HOSTILE]
    inside = "const box = document.querySelector('#table .scroll'); return box.scrollWidth > box.clientWidth"
    assert page.execute_script(inside), "the table scrolls in a box of its own"
    assert "since2019-01-01" in hidden_text(page, "parameters")
    assert "which pumps leaked since {since}? (91%)" in hidden_text(page, "parameters")
    assert hidden_text(page, "cypher") == "MATCH (p:Pump) RETURN p"
    tab_to(page, "[3]")
    press(page, Keys.ENTER)
    reached = page.switch_to.active_element
    assert (reached.tag_name, reached.find_elements(By.TAG_NAME, "td")[1].text) == ("tr", "pump 2")
    tab_to(page, "back to [3]")
    press(page, Keys.ENTER)
    assert page.switch_to.active_element.text == "[3]"


def test_a_language_model_may_be_chosen_and_what_it_made_up_is_told(page: WebDriver, fake: Fake) -> None:
    wait(page, "models", lambda d: d.find_element(By.ID, "by").is_displayed())
    offered = [o.text for o in page.find_elements(By.CSS_SELECTOR, "#by option")]
    assert offered == ["extracts", "writer"], "a model that writes no text is not offered"
    focus(page, "by")
    press(page, "w")
    fake.found = {**extracts(), "by": "writer", "dropped": ["Pumps are blue."]}
    focus(page, "question", back=True)
    press(page, ASKED, Keys.ENTER)
    answered(page, fake.found)
    assert fake.asked[-1]["model"] == "writer"
    assert "Written by writer" in text_of(page, "meta")
    assert "1 sentence of the model left out" in text_of(page, "text")


def test_refusals_are_told(page: WebDriver, fake: Fake) -> None:
    for refusal in REFUSALS:
        fake.refusal = None
        ask(page, ASKED)
        wait(page, "an answer", lambda d: d.find_element(By.ID, "answer").is_displayed())
        fake.refusal = refusal
        ask(page, "what else?")
        wait(page, f"the refusal {refusal}", lambda d, told=refusal[1]: text_of(d, "status") == told)
        assert not page.find_element(By.ID, "answer").is_displayed(), "an older answer does not stand below it"


def test_the_key_is_asked_for_and_goes_along_to_the_other_page(page: WebDriver, fake: Fake) -> None:
    page.execute_script("sessionStorage.setItem('key', 'cw_wrong')")
    page.refresh()
    wait(page, "the key's field", lambda d: d.switch_to.active_element.get_attribute("id") == "key")
    assert text_of(page, "status") == "the key is not known"
    press(page, Keys.CONTROL + "a", KEY, Keys.TAB)
    wait(page, "what is asked", lambda d: "what leaked since {since}?" in hidden_text(d, "queries"))
    link = page.find_element(By.LINK_TEXT, "Metrics")
    page.execute_script("sessionStorage.removeItem('key'); arguments[0].focus()", link)
    press(page, Keys.ENTER)
    wait(page, "the other page", lambda d: d.title == "Ask · Clearway")
    assert page.find_element(By.ID, "key").get_attribute("value") == KEY
    assert "key" not in page.current_url
    assert page.find_element(By.LINK_TEXT, "Knowledge").get_attribute("href") == f"{fake.url}/know"
    logged(page)  # what this gateway has not are lines of it
