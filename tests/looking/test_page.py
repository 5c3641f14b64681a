"""Pages of one file: what is written into them is text, whatever it looks like."""

import base64
import io

import jinja2
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from src.looking.page import TEMPLATES, figure, picture, write_page


def content(address: str) -> tuple[str, bytes]:
    """The kind and the bytes of a data: address."""
    kind, _, code = address.removeprefix("data:").partition(";base64,")
    return kind, base64.b64decode(code)


def test_a_page_shows_text_as_text_and_lacks_nothing(tmp_path, monkeypatch):
    (tmp_path / "one.html").write_text(
        '{% extends "base.html" %}{% from "parts.html" import table %}'
        "{% block body %}{{ table(frame, 'two') }}{{ missing }}{% endblock %}")
    for name in ("base.html", "parts.html"):
        (tmp_path / name).write_text((TEMPLATES / name).read_text())
    monkeypatch.setattr("src.looking.page.TEMPLATES", tmp_path)
    frame = pd.DataFrame({"<b>": ["<script>alert(1)</script>", '"']})
    with pytest.raises(jinja2.UndefinedError, match="missing"):
        write_page(tmp_path / "page.html", "one.html", title="x", frame=frame)
    assert not (tmp_path / "page.html").exists()
    write_page(tmp_path / "page.html", "one.html", title="a & b", frame=frame, missing="")
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert page.startswith("<!doctype html>") and "<title>a &amp; b</title>" in page
    assert "<td>&lt;script&gt;" in page and '<th scope="col">&lt;b&gt;' in page
    assert "http://" not in page and "https://" not in page


def test_pictures_are_small_and_turned_as_they_were_taken(tmp_path):
    path, exif = tmp_path / "a.jpg", Image.Exif()
    exif[0x0112] = 6  # turn it by a quarter to see it upright
    Image.fromarray(np.zeros((480, 640, 3), np.uint8)).save(path, exif=exif)
    kind, code = content(picture(path))
    seen = Image.open(io.BytesIO(code))
    assert (kind, seen.format, seen.size) == ("image/webp", "WEBP", (270, 360))
    grey = content(picture(Image.new("L", (10, 20)), pixels=5))[1]
    assert Image.open(io.BytesIO(grey)).size == (2, 5)


def test_a_figure_is_stored_as_what_is_smaller():
    fig = plt.figure(figsize=(20, 20))  # empty, but with many pixels
    assert content(figure(fig))[0] == "image/svg+xml"
    plt.close(fig)
    fig, ax = plt.subplots()
    rng = np.random.default_rng(0)
    ax.scatter(*rng.random((2, 20_000)))
    assert content(figure(fig))[0] == "image/png"
    plt.close(fig)
