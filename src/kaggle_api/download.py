"""The competition's zip becomes the data folder: disk space, checksums, tables, then one rename."""

import os
import shutil
import zlib
from datetime import UTC, datetime
from pathlib import Path
from zipfile import BadZipFile, ZipFile, is_zipfile

from src import competition, core
from src.core import UserError, load_facts
from src.kaggle_api.client import call, call_with_retry, client, require_real

NOTE = "archive.json"  # in the data folder: which zip it was unpacked from


class Damaged(UserError):
    """The zip is incomplete or broken."""


def download(data: str = "", zip_file: str = "") -> None:
    """Fill the folder `data` from Kaggle or from `zip_file`; nothing is done where it is whole."""
    named = data or os.environ.get("PADDY_DATA") or core.ROOT / "data" / load_facts().slug
    folder = Path(named).expanduser().resolve()
    require_real(folder)
    if folder.is_dir() and not core.is_empty(folder):
        try:
            print(f"{_describe(folder)}: already here, nothing to do")
        except UserError as error:
            remedy = f"or delete {folder} and run the same command again"
            raise UserError(str(error), remedy) from error
        return
    if zip_file:
        _unpack(Path(zip_file).expanduser(), folder)
    else:
        _download_and_unpack(folder.with_name(f"{load_facts().slug}.zip"), folder)
    print(_describe(folder))


def _download_and_unpack(zip_file: Path, folder: Path) -> None:
    """Unpack; a damaged zip, which an earlier call may have left, is downloaded once more."""
    if not is_zipfile(zip_file):
        _fetch(zip_file)
    try:
        _unpack(zip_file, folder)
    except Damaged as error:
        print(f"{error.problem}; downloading it again", flush=True)
        zip_file.unlink()
        _fetch(zip_file)
        _unpack(zip_file, folder)
    zip_file.unlink()


def _fetch(zip_file: Path) -> None:
    """Download the archive with the client's progress bar; a partial file is continued.

    The client's `competition_download_files` never compares the size with the free space.
    """
    from kagglesdk.competitions.types.competition_api_service import ApiDownloadDataFilesRequest

    api, request = client(), ApiDownloadDataFilesRequest()
    request.competition_name = load_facts().slug
    with api.build_kaggle_client() as kaggle:
        service = kaggle.competitions.competition_api_client
        response = call_with_retry(service.download_data_files, request)
        size = int(response.headers.get("Content-Length", 0))
        already = zip_file.stat().st_size if zip_file.exists() else 0
        # Photographs do not shrink in a zip, so the unpacked files need about as much again.
        _require_space(zip_file.parent, max(2 * size - already, size))
        print(f"{zip_file.name}: {size / 1e6:,.1f} MB, {already / 1e6:,.1f} MB here", flush=True)
        call(api.download_file, response, str(zip_file), kaggle.http_client(), False, True)


def _unpack(zip_file: Path, folder: Path) -> None:
    """Unpack beside `folder`, check everything, then rename: `folder` is whole or not there.

    Raises Damaged for a broken zip, UserError for a full disk or a zip of something else.
    """
    temporary = folder.with_name(f".{folder.name}.unpacking")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        with ZipFile(zip_file) as archive:
            members = [member for member in archive.infolist()
                       if not any(map(core.is_left_by_system, Path(member.filename).parts))]
            _require_space(folder.parent, sum(member.file_size for member in members))
            archive.extractall(temporary, members)  # compares the checksums
        images, classes = count(temporary)
        core.write_json(temporary / NOTE, {
            "archive": zip_file.name, "sha256": core.sha256(zip_file),
            "bytes": zip_file.stat().st_size, "images": images, "classes": classes,
            "unpacked": datetime.now(UTC).isoformat(timespec="seconds"),
        })  # fmt: skip
        core.put_in_place(temporary, folder)
    except (BadZipFile, zlib.error, EOFError) as error:
        again = "download it again, in the browser or with python -m src.kaggle_api download"
        raise Damaged(f"{zip_file} is damaged ({error})", again) from error
    except UserError as error:
        raise UserError(str(error).replace(str(temporary), zip_file.name)) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _require_space(folder: Path, size: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free
    if free < size * 1.01:
        raise UserError(f"{folder} has {free / 1e9:.1f} GB free, {size / 1e9:.1f} GB are needed",
                        "free some space, or name another folder with PADDY_DATA")


def count(folder: Path) -> tuple[int, int]:
    """Images and classes, once tables and files agree name by name; else UserError."""
    if missing := competition.missing_parts(folder):
        raise UserError(f"no {', '.join(missing)} inside: not the competition's own zip, take that")
    images = len(competition.train_paths(folder)) + len(competition.test_paths(folder))
    return images, len(competition.classes(folder))


def _describe(folder: Path) -> str:
    (images, classes), facts = count(folder), load_facts()
    known = {"images": facts.images, "classes": facts.classes}
    published = [f"{number:,} {what}" for what, number in known.items() if number]
    found = f"{folder}: {images:,} images, {classes} classes"
    return f"{found} (published: {', '.join(published)})" if published else found
