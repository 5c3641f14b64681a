"""The pages of a review in a real Chromium; candidates marked, saved, loaded again, trained on."""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
import yaml
from conftest import ROOT, TINY
from small_bundles import RESNET, call
from small_labels import HOSTILE, LABELS, page_in
from small_leaves import CHANGES, competition_in, leaf

from src import bundle, competition, run
from src.core import make_variant
from src.looking.twins import twins_command

sync_api = pytest.importorskip("playwright.sync_api", reason="pip install playwright")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))),
                None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine's PATH")


@pytest.fixture(scope="module")
def chromium() -> Iterator[sync_api.Browser]:
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def address(tmp_path, monkeypatch) -> str:
    return page_in(tmp_path, monkeypatch).as_uri()


@pytest.fixture
def browser(chromium) -> Iterator[sync_api.BrowserContext]:
    """A fresh profile; a request beyond the page itself or anything in its console fails."""
    with chromium.new_context() as context:
        seen = []
        context.on("request", lambda request: seen.append(request.url))
        context.on("console", lambda message: seen.append(message.text))
        context.on("weberror", lambda error: seen.append(str(error.error)))
        yield context
        assert [what for what in seen if not what.startswith(("file://", "data:"))] == []


def opened(browser, address: str, width: int = 1280):
    page = browser.new_page()
    page.set_viewport_size({"width": width, "height": 800})
    page.goto(address)
    return page


def sideways(page) -> int:
    """How many pixels of the page are beyond its window."""
    return page.evaluate("document.documentElement.scrollWidth"
                         " - document.documentElement.clientWidth")


def saved(page, name: str) -> bytes:
    """What a click on Save downloads under this name."""
    with page.expect_download() as download:
        page.click(f"#{name}")
    assert download.value.suggested_filename == f"{name}.csv"
    return Path(download.value.path()).read_bytes()


def marks(page) -> dict[str, str]:
    """Image → its pressed button, on the candidates."""
    return page.evaluate("""() => Object.fromEntries([...document.querySelectorAll(".card")]
        .map(card => [card.dataset.id, card.querySelector("[aria-pressed=true]")?.value])
        .filter(([, value]) => value))""")


def csv(ids: list[str], relabel: dict[str, str] | None = None) -> bytes:
    """A list of corrections as pandas writes it, in the order of the training table."""
    table = pd.DataFrame({"image_id": sorted(ids)})
    if relabel:
        table["label"] = table.image_id.map(relabel)
    return table.to_csv(index=False, lineterminator="\n").encode()


@pytest.mark.parametrize("width", [360, 1280])
def test_marks_are_made_survive_and_are_saved_to_the_byte(browser, address, width, tmp_path):
    page = opened(browser, address, width)
    assert sideways(page) == 0
    cards = page.locator(".card")
    assert cards.count() == 18
    near = page.locator(".near span").first
    drawn = near.evaluate("it => getComputedStyle(it).backgroundImage")
    assert drawn.startswith('url("data:image/webp') and near.bounding_box()["width"] > 50
    first, second, third, fourth = (cards.nth(n).get_attribute("data-id") for n in range(4))
    assert {first, second, third, fourth} == set(HOSTILE)
    assert not page.evaluate("window.hit") and not page.is_visible("#exclude")
    cards.nth(0).get_by_text("drop", exact=True).click()
    cards.nth(1).get_by_text("keep", exact=True).click()
    cards.nth(2).get_by_text("relabel…").click()
    other = cards.nth(2).locator("details button").last
    label = other.get_attribute("value").removeprefix("=")
    other.click()
    cards.nth(3).click(position={"x": 3, "y": 3})
    page.keyboard.press("d")
    expected = {first: "drop", second: "keep", third: f"={label}", fourth: "drop"}
    assert marks(page) == expected and page.inner_text("#said") == "4 of 18 marked"
    page.reload()
    assert marks(page) == expected
    lists = {"exclude": saved(page, "exclude"), "relabel": saved(page, "relabel")}
    assert lists == {"exclude": csv([first, fourth]), "relabel": csv([third], {third: label})}
    for name, content in lists.items():
        (tmp_path / f"{name}.csv").write_bytes(content)
    row = make_variant(arch="test_vit", **{n: str(tmp_path / f"{n}.csv") for n in lists})
    read = competition.read_corrections(row, tmp_path / "data")
    assert read == ({first, fourth}, {third: label})


def test_the_keyboard_alone_is_enough(browser, address):
    page = opened(browser, address)
    press = page.keyboard.press
    press("d")  # no candidate has the focus yet, so nothing is marked
    assert marks(page) == {}
    names = [page.locator(".card").nth(n).get_attribute("data-id") for n in range(3)]
    given = [page.locator(".card").nth(n).locator("b").first.inner_text() for n in range(3)]
    other = next(n for n, label in enumerate(sorted(LABELS), 1) if label != given[1])
    for key in ("ArrowDown", "d", "ArrowRight", str(other), "ArrowDown", "k"):
        press(key)
    assert marks(page) == {names[0]: "drop", names[1]: f"={sorted(LABELS)[other - 1]}",
                           names[2]: "keep"}
    for key in ("ArrowUp", "ArrowLeft", "d", "Control+d", "9"):
        press(key)  # the same again takes it away; control keys are the browser's; 9 is no label
    assert names[0] not in marks(page)
    press("Tab")
    press("Enter")
    assert marks(page)[names[0]] == "keep"
    page.locator("#relabel").focus()
    with page.expect_download() as download:
        press("Enter")
    assert Path(download.value.path()).read_bytes().startswith(b"image_id,label\n")


def test_saved_lists_are_loaded_again_and_others_refused(browser, address, tmp_path):
    page = opened(browser, address)

    def load(content: bytes) -> str:
        page.evaluate("document.getElementById('said').textContent = ''")
        page.set_input_files("#file", {"name": "list.csv", "mimeType": "text/csv",
                                       "buffer": content})
        page.wait_for_selector("#said:not(:empty)")
        return page.inner_text("#said")

    lists = csv([HOSTILE[0], "100013.jpg"]), csv([HOSTILE[2]], {HOSTILE[2]: LABELS[0]})
    for content, count in zip(lists, (2, 1), strict=True):
        assert load(content) == f"list.csv: {count} marks loaded"
    assert saved(page, "exclude") == lists[0] and saved(page, "relabel") == lists[1]
    before = marks(page)
    refused = {
        "another competition's": csv(["7.jpg"]),
        "unknown label": csv(["100001.jpg"], {"100001.jpg": "x"}),
        "marked otherwise": csv([HOSTILE[0]], {HOSTILE[0]: LABELS[1]}),
        "contradicts itself": b"image_id,label\n100001.jpg,blast\n100001.jpg,<b>tungro\n",
        "no header": b"100003.jpg\n100001.jpg\n",
        "no name": b"image_id,label\n,blast\n",
        "no table": b"\x00\xff\npicture\n",
    }  # fmt: skip
    for why, content in refused.items():
        assert load(content).endswith("nothing is loaded"), why
        assert marks(page) == before
    windows = b"\xef\xbb\xbf" + csv(["100002.jpg"]).replace(b"\n", b"\r\n")
    assert load(windows) == "list.csv: 1 marks loaded"


def test_a_row_of_params_yaml_is_trained_with_the_saved_lists(
    browser, address, tmp_path, own_params
):
    page = opened(browser, address)
    lists = {name: tmp_path / f"{name}.csv" for name in ("exclude", "relabel")}
    page.locator(".card").nth(0).get_by_text("drop", exact=True).click()
    page.locator(".card").nth(1).get_by_text("relabel…").click()
    page.locator(".card").nth(1).locator("details button").last.click()
    for name, path in lists.items():
        path.write_bytes(saved(page, name))
    # Nothing is held out, so that what is dropped would have been trained on.
    row = TINY | {"epochs": 1, "fold": "all"} | {name: str(path) for name, path in lists.items()}
    params = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    own_params(yaml.safe_dump(params | {"variants": {f"{RESNET}_all": row}}))
    done = call(run.main, f"{RESNET}_all")
    assert done.returncode == 0, done.stdout
    card = bundle.read_card(tmp_path / "work" / "models", f"{RESNET}_all")
    found = competition.digests(make_variant(**row))
    assert card["corrections"] == found and found.keys() == lists.keys()
    executed = tmp_path / "work" / "notebooks" / "runs" / f"{RESNET}_all.ipynb"
    assert re.search("images trained on</td>.*\n.*>17</td>", executed.read_text(encoding="utf-8"))


def test_another_list_of_candidates_starts_empty(browser, address, tmp_path, monkeypatch):
    page = opened(browser, address)
    page.keyboard.press("ArrowDown")
    page.keyboard.press("d")
    (tmp_path / "other").mkdir()
    other = opened(browser, page_in(tmp_path / "other", monkeypatch, top=5).as_uri())
    assert other.locator(".card").count() == 5 and marks(other) == {}
    assert len(marks(opened(browser, address))) == 1


def test_where_nothing_can_be_stored_the_page_says_so_and_saves(browser, address):
    browser.add_init_script("""Object.defineProperty(window, "localStorage",
        { get() { throw new DOMException("denied", "SecurityError"); } })""")
    page = opened(browser, address)
    page.keyboard.press("ArrowDown")
    page.keyboard.press("d")
    assert page.inner_text("#said").endswith("stores no marks: save them before you leave")
    assert saved(page, "exclude").startswith(b"image_id\n")


def test_the_page_can_be_read_without_script(chromium, address):
    with chromium.new_context(java_script_enabled=False) as browser:
        page = opened(browser, address)
        assert "Marking needs JavaScript" in page.inner_text("body")
        assert page.locator(".card img").first.is_visible()


@pytest.mark.parametrize("width", [360, 1280])
def test_twins_are_beside_each_other_whatever_their_names(browser, tmp_path, monkeypatch, width):
    long, one = "long" * 20, leaf(0)
    train = {f"{long}.jpg": (long, one), "b.jpg": ("tungro", CHANGES["again"](one))}
    data = competition_in(tmp_path / "data", train, {"t.jpg": CHANGES["mirrored"](one)})
    monkeypatch.setenv("PADDY_DATA", str(data))
    monkeypatch.setenv("PADDY_WORK", str(tmp_path / "work"))
    twins_command([])
    page = opened(browser, competition.twins_path().with_suffix(".html").as_uri(), width)
    boxes = [image.bounding_box() for image in page.locator(".pair img").all()]
    assert len(boxes) == 4 and sideways(page) == 0
    assert all(left["y"] == right["y"] and left["x"] < right["x"] and left["width"] > 100
               for left, right in zip(boxes[::2], boxes[1::2], strict=True))
    assert page.evaluate("[...document.images].every(image => image.naturalWidth)")
