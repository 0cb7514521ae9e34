"""The audit's page in Chromium: no console error, no horizontal scroll, links, sorting by the keyboard."""

import re
import shutil
from pathlib import Path
from urllib.parse import unquote, urlparse

import numpy as np
import pytest

import kvar
from kvar.commands.audit import demo_path

selenium = pytest.importorskip("selenium")
BROWSER, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(not (BROWSER and DRIVER), reason="no chromium with its driver")


@pytest.fixture(scope="module")
def browser():
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    folder = tmp_path_factory.mktemp("audit")
    return (kvar.audit(demo_path(), ["group-mean", "kernel", "adaptive"]).save(folder) / "audit.html").as_uri()


@pytest.fixture(scope="module")
def address_of_runs(tmp_path_factory):
    rng = np.random.default_rng(0)
    step, prompts = np.repeat(np.arange(40), 64), np.tile(np.repeat(np.arange(16), 4), 40)
    runs = {}
    for name, value in {"old/1": 0.3, "old/2": 0.3, "a-much-higher-rate/1": 0.6, "a-much-higher-rate/2": 0.6}.items():
        reward = (rng.random(len(step)) < value).astype(float)
        runs[name] = kvar.Trace.from_columns({"step": step, "prompt_id": prompts, "reward": reward})
    report = kvar.audit_runs(runs, [name[:-2] for name in runs], baselines="kernel", n_jobs=1)
    return (report.save(tmp_path_factory.mktemp("runs")) / "runs.html").as_uri()


@pytest.mark.parametrize("page", ["address", "address_of_runs"])
@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [390, 1280])
def test_the_page_fits_and_has_no_errors(browser, page, width, dark, request):
    address = request.getfixturevalue(page)
    size = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 500}
    scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
    browser.get(address)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    assert browser.get_log("browser") == []
    colour = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, re.findall(r"\d+", colour)[:3])) < 200) is dark


@pytest.mark.parametrize("page", ["address", "address_of_runs"])
def test_links_and_pictures(browser, page, request):
    from selenium.webdriver.common.by import By

    browser.get(request.getfixturevalue(page))
    links = [link.get_attribute("href") for link in browser.find_elements(By.CSS_SELECTOR, "a[href]")]
    assert links
    for link in links:
        if "#" not in link:
            assert Path(unquote(urlparse(link).path)).is_file(), f"{link} leads nowhere"
            continue
        assert browser.find_elements(By.ID, link.partition("#")[2]), f"{link} leads nowhere"
    pictures = browser.find_elements(By.TAG_NAME, "svg")
    assert pictures
    assert all(p.get_attribute("role") == "img" and len(p.get_attribute("aria-label")) > 40 for p in pictures)


def test_the_table_of_prompts_sorts_by_the_keyboard(browser, address):
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys

    browser.get(address)

    def column():
        cells = browser.find_elements(By.CSS_SELECTOR, "table.sortable tbody td:nth-child(3)")
        return [float(cell.get_attribute("data-v")) for cell in cells]

    before = column()
    head = browser.find_element(By.CSS_SELECTOR, "table.sortable th:nth-child(3)")
    for order, ordered in (("descending", sorted(before)[::-1]), ("ascending", sorted(before))):
        head.find_element(By.TAG_NAME, "button").send_keys(Keys.ENTER)
        assert head.get_attribute("aria-sort") == order
        assert column() == ordered
