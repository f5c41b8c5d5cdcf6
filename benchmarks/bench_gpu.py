"""Measure the packed engine on a GPU: whether it is right, whether company changes a bit, its speed, and failures.

Needs nothing but Python 3.12, torch, transformers, tokenizers, safetensors and numpy, and, to compare with, whatever
there is of sentence-transformers and flash attention: no network, and no checkpoint, which it makes of random numbers
on the device. Each section is a process of its own, with a time of its own: what does not fit in is left out and
listed. Prints tables and writes one JSON file, also where a section fails; then the exit code is 1. See README.md
beside this.

    PYTHONPATH=packages/rerank-core/src python3 benchmarks/bench_gpu.py --json gpu.json
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from contextlib import nullcontext
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from typing import Any

# The seconds that each section may take on a GPU: 450 in all. A process is ended 25 seconds after its time.
SECTIONS = {"right": 90.0, "company": 80.0, "fast": 160.0, "small": 60.0, "robust": 60.0}
WITH_SERVER = {"over_http": 60.0}
GRACE = 25.0
DRY_SECONDS = 120.0


def run_section(arguments: argparse.Namespace) -> None:
    """Run one section in this process."""
    import torch
    from gpu.bench import Bench
    from gpu.report import Report
    from gpu.shapes import FULL, MINIATURE
    from gpu.stand_in import as_on_a_gpu
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    if not arguments.dry_run and not torch.cuda.is_available():
        raise SystemExit("no CUDA device is here: --dry-run takes the same road on a CPU, in miniature")
    report = Report(arguments.section, arguments.json, arguments.seconds)
    size = MINIATURE if arguments.dry_run else FULL
    with as_on_a_gpu() if arguments.dry_run else nullcontext():
        import_module(f"gpu.{arguments.section}").run(Bench(arguments.device, size, arguments.folder, report))
    report.card = card(arguments.device)
    report.write()


def card(device: str) -> dict[str, Any]:
    """Describe the device."""
    import torch

    if not device.startswith("cuda"):
        return {"name": "no GPU: a dry run", "torch": torch.__version__}
    properties = torch.cuda.get_device_properties(device)
    return {
        "name": properties.name,
        "capability": f"{properties.major}.{properties.minor}",
        "multiprocessors": properties.multi_processor_count,
        "megabytes": properties.total_memory / 1e6,
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda", help="(default: %(default)s)")
    parser.add_argument("--dry-run", action="store_true", help="on the CPU, in miniature: that everything runs")
    parser.add_argument("--sections", nargs="+", choices=SECTIONS, default=[*SECTIONS], help="(default: all)")
    parser.add_argument("--http", action="store_true", help="and the server, where litestar, msgspec and uvicorn are")
    parser.add_argument("--json", type=Path, default=Path("gpu.json"), help="write everything here (%(default)s)")
    parser.add_argument("--section", help=argparse.SUPPRESS)
    parser.add_argument("--seconds", type=float, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.dry_run:
        arguments.device = "cpu"
    if arguments.section:
        run_section(arguments)
        return 0
    sections = {name: SECTIONS[name] for name in arguments.sections} | (WITH_SERVER if arguments.http else {})
    return run_all(arguments, sections)


def run_all(arguments: argparse.Namespace, sections: dict[str, float]) -> int:
    """Run each section in a process of its own, and put together what they found."""
    from machine import describe

    results: dict[str, Any] = {"machine": asdict(describe()), "sections": {}}
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        for name, seconds in sections.items():
            part = Path(folder) / f"{name}.json"
            status = run_process(arguments, name, DRY_SECONDS if arguments.dry_run else seconds, Path(folder), part)
            found = json.loads(part.read_text()) if part.exists() else {"failed": {name: "wrote nothing"}}
            if status != "ended":
                found.setdefault("failed", {})[name] = status
            results["card"] = found.pop("card", None) or results.get("card")
            results["sections"][name] = found
            arguments.json.parent.mkdir(parents=True, exist_ok=True)
            arguments.json.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    print(f"\n{results.get('card')}")
    return summarize(results["sections"], time.perf_counter() - started)


def run_process(arguments: argparse.Namespace, name: str, seconds: float, folder: Path, part: Path) -> str:
    """Run a section's process; return how it ended."""
    command = [sys.executable, __file__, "--section", name, "--seconds", str(seconds), "--device", arguments.device]
    command += ["--folder", str(folder), "--json", str(part), *(["--dry-run"] if arguments.dry_run else [])]
    try:
        done = subprocess.run(command, check=False, timeout=seconds + GRACE, env=os.environ | {"HF_HUB_OFFLINE": "1"})
    except subprocess.TimeoutExpired:
        return f"ended after {seconds + GRACE:g} s"
    return "ended" if done.returncode == 0 else f"exit code {done.returncode}"


def summarize(sections: dict[str, Any], seconds: float) -> int:
    """Print what does not hold, failed, is missing and was left out; return the exit code."""
    print(f"\n### all sections, {seconds:.0f} s\n")
    wrong = 0
    for name, found in sections.items():
        failed = found.get("failed", {})
        broken = [sentence for sentence, holds in found.get("checks", {}).items() if not holds]
        wrong += len(failed) + len(broken)
        print(f"- {name}: {found.get('seconds', 0):.0f} s, {len(found.get('checks', {}))} checks")
        for title, lines in (
            ("DOES NOT HOLD", broken),
            ("FAILED", [f"{what}: {why}" for what, why in failed.items()]),
            ("missing", [f"{what}: {why}" for what, why in found.get("missing", {}).items()]),
            ("left out", found.get("left_out", [])),
        ):
            for line in lines:
                print(f"  - {title}: {line}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
