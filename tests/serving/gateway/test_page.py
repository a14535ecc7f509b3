"""The page in a real Chromium: asked by keyboard alone, in a phone's width, with words that want to be more."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from serving.gateway.marked import read_marked
from tests.dbt_project.fixtures import warehouse  # noqa: F401
from tests.serving.gateway.test_copilot import WORST, World, world  # noqa: F401

webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed: make install")
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402
from selenium.webdriver.remote.webdriver import WebDriver  # noqa: E402
from selenium.webdriver.support.wait import WebDriverWait  # noqa: E402

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(
        not (CHROMIUM and DRIVER), reason="no Chromium with its driver: apt-get install chromium-driver"
    ),
]
BY_CARRIER = {"metrics": ["on_time_rate"], "group_by": ["carrier"], "order_by": ["on_time_rate"]}


def browser(folder: Path, width: int, height: int) -> WebDriver:
    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars",
                     f"--user-data-dir={folder}", f"--window-size={width},{height}"):  # fmt: skip
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    made = webdriver.Chrome(options=options, service=webdriver.ChromeService(executable_path=str(DRIVER)))
    made.execute_cdp_cmd("Emulation.setDeviceMetricsOverride",
                         {"width": width, "height": height, "deviceScaleFactor": 2, "mobile": width < 600})  # fmt: skip
    return made


@pytest.fixture(params=[(1100, 900), (360, 740)], ids=["desk", "phone"])
def page(request: pytest.FixtureRequest, world: World, tmp_path: Path) -> Iterator[WebDriver]:  # noqa: F811
    driver = browser(tmp_path / "profile", *request.param)
    driver.get(f"{world.settings.gateway_url}/ask#key={world.key}")
    yield driver
    driver.save_screenshot(str(tmp_path / f"{request.node.name}.png"))
    wide = driver.execute_script("return document.documentElement.scrollWidth - window.innerWidth")
    errors = [
        entry for entry in driver.get_log("browser") if entry["level"] == "SEVERE" and "422" not in entry["message"]
    ]
    driver.quit()
    assert wide <= 0, "the page is wider than its window"
    assert errors == []


def press(driver: WebDriver, *keys: str) -> None:
    for key in keys:
        driver.switch_to.active_element.send_keys(key)


def focus(driver: WebDriver, wanted: str, back: bool = False) -> None:
    """Reach an element by the Tab key."""
    for _ in range(40):
        if driver.switch_to.active_element.get_attribute("id") == wanted:
            return
        webdriver.ActionChains(driver).key_down(Keys.SHIFT).send_keys(Keys.TAB).key_up(
            Keys.SHIFT
        ).perform() if back else (webdriver.ActionChains(driver).send_keys(Keys.TAB).perform())
    pytest.fail(f"Tab does not reach {wanted}")


def text_of(driver: WebDriver, ident: str) -> str:
    return driver.find_element(By.ID, ident).text


def wait(driver: WebDriver, what: str, check: object) -> None:
    WebDriverWait(driver, 20).until(check, what)  # type: ignore[arg-type]


def test_asked_seen_changed_and_marked_by_keyboard_alone(page: WebDriver, world: World) -> None:  # noqa: F811
    assert "key" not in page.current_url, "the key does not stay in the address"
    wait(page, "what can be asked", lambda d: "2013-03-31" in text_of(d, "known"))
    world.llm.words = [json.dumps(BY_CARRIER)]
    focus(page, "question")
    press(page, "on-time rate by carrier", Keys.ENTER)
    wait(page, "rows", lambda d: len(d.find_elements(By.CSS_SELECTOR, "#rows tbody tr")) > 5)
    assert page.switch_to.active_element.get_attribute("id") == "headline", "a screen reader goes to the answer"
    assert text_of(page, "headline") == "on-time rate by carrier"
    assert "written by version 1" in text_of(page, "meta")
    assert page.find_elements(By.CSS_SELECTOR, "#chart svg")
    assert page.find_element(By.ID, "sql").get_attribute("textContent").count("SELECT")
    assert "fct_flights" in page.find_element(By.ID, "lineage").get_attribute("textContent")
    shown = page.find_element(By.ID, "query")
    assert json.loads(shown.get_attribute("value")) == BY_CARRIER

    focus(page, "query")
    press(page, Keys.CONTROL + "a")
    press(page, json.dumps({**BY_CARRIER, "limit": 3}))
    webdriver.ActionChains(page).key_down(Keys.CONTROL).send_keys(Keys.ENTER).key_up(Keys.CONTROL).perform()
    wait(page, "three rows", lambda d: len(d.find_elements(By.CSS_SELECTOR, "#rows tbody tr")) == 3)

    before = len(read_marked(world.settings))
    focus(page, "right")
    press(page, Keys.SPACE)
    focus(page, "wrong")
    press(page, Keys.ENTER)
    wait(page, "thanks", lambda d: "Thank you" in text_of(d, "status"))
    marked = read_marked(world.settings)[before:]
    assert [m["query"] for m in marked] == [{**BY_CARRIER, "limit": 3}], "the changed query, which is said to be right"


def test_what_is_not_answered_is_told_and_words_stay_words(page: WebDriver, world: World) -> None:  # noqa: F811
    hostile = '<img src=x onerror="document.title=1"> {{7*7}}'
    world.llm.words = ['{"refuse":"not_a_question_of_metrics"}']
    focus(page, "question")
    press(page, hostile, Keys.ENTER)
    wait(page, "refusal", lambda d: "no question about metrics" in text_of(d, "status"))
    assert text_of(page, "headline") == hostile
    assert page.title == "Ask · Clearway"
    assert page.find_elements(By.TAG_NAME, "img") == []
    world.llm.words = ['{"metrics":["on_time"]}']
    focus(page, "question", back=True)
    press(page, Keys.CONTROL + "a")
    press(page, "on time?", Keys.ENTER)
    wait(page, "did you mean", lambda d: "did you mean on_time_rate" in text_of(d, "status"))
    assert page.find_element(By.ID, "query").get_attribute("value") == '{"metrics":["on_time"]}', "to be mended"
    before = len(read_marked(world.settings))
    focus(page, "wrong")
    press(page, Keys.ENTER)
    wait(page, "thanks", lambda d: "Thank you" in text_of(d, "status"))
    (marked,) = read_marked(world.settings)[before:]
    assert (marked["question"], marked["query"]) == ("on time?", None), "what the model wrote is not taken for right"
    world.llm.words = [json.dumps(WORST)]


def test_a_key_that_is_not_known_is_asked_for(page: WebDriver, world: World) -> None:  # noqa: F811
    page.execute_script("sessionStorage.setItem('key', 'cw_wrong')")
    page.refresh()
    wait(page, "the key's field", lambda d: d.switch_to.active_element.get_attribute("id") == "key")
    assert "not known" in text_of(page, "status")
    press(page, Keys.CONTROL + "a")
    press(page, world.key, Keys.TAB)
    wait(page, "what can be asked", lambda d: "2013-03-31" in text_of(d, "known"))
    page.get_log("browser")  # the refusal of the wrong key is one of its lines
