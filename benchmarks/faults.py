"""Which tests notice a fault: plants those of faults.yaml in a copy, one at a time.

    python benchmarks/faults.py [WORD ...]     all, or those whose description has a WORD

Each must make its tests fail; exit code 1 if one survives. The copy is of the last commit.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parent.parent
LIST = Path(__file__).with_suffix(".yaml")


def faults() -> list[dict[str, str]]:
    """The list: fault, file, old, new, tests."""
    return yaml.safe_load(LIST.read_text(encoding="utf-8"))


def noticed(copy: Path, fault: dict[str, str]) -> str:
    """The first test that fails with `fault`; empty if it survives."""
    path = copy / "src" / fault["file"]
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace(fault["old"], fault["new"], 1), encoding="utf-8")
    words = ["-m", "pytest", "-qx", "-p", "no:cacheprovider", f"tests/{fault['tests']}"]
    environment = os.environ | {"PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run([sys.executable, *words], cwd=copy, env=environment,
                          capture_output=True, text=True)
    path.write_text(text, encoding="utf-8")
    failed = [line for line in done.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
    return failed[0].split()[1] if failed else ""


def main(words: list[str]) -> int:
    """Print a row for each fault; how many survived."""
    survived = 0
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "copy"
        git = ["git", "-C", str(ROOT), "worktree"]
        subprocess.run([*git, "add", "--detach", str(copy), "HEAD"], check=True,
                       capture_output=True)
        try:
            for fault in faults():
                if not words or any(word in fault["fault"] for word in words):
                    test = noticed(copy, fault)
                    survived += not test
                    print(f"{fault['fault']:<48} {test or 'SURVIVED'}", flush=True)
        finally:
            subprocess.run([*git, "remove", "--force", str(copy)], check=True)
    return survived


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("words", nargs="*", metavar="WORD")
    sys.exit(bool(main(parser.parse_args().words)))
