"""The charts of docs/performance.md: one for each question, and its title is the answer."""

from __future__ import annotations

from dataclasses import dataclass

from charts import Caption, Tone
from line_charts import Line, line_chart
from published import JSON, PACKED, Engines, Growth, Published
from row_charts import Bars, Interval, Intervals, Panel, Remarks, row_chart
from systems import ONNX_RUNTIME, ONNX_RUNTIME_INT8, OPENVINO_BFLOAT16, packed

# The names of the systems that are not ours: those that pad nothing first, their best setting on mixed lengths.
UNPADDED = {
    ONNX_RUNTIME: "ONNX Runtime, one at a time",
    ONNX_RUNTIME_INT8: "ONNX Runtime int8, one at a time",
    OPENVINO_BFLOAT16: "OpenVINO bfloat16, one at a time",
    "transformers, sorted, b1": "transformers, one at a time",
}
PADDED = {
    "transformers, sorted, b16": "transformers, batch 16",
    "infinity": "infinity",
    "sentence-transformers": "sentence-transformers",
    "FlagEmbedding, b16": "FlagEmbedding, batch 16",
    "FlagEmbedding": "FlagEmbedding, defaults",
}
PEERS = UNPADDED | PADDED
LARGE, SMALL = "the default model's shape", "a small model (MiniLM)"


@dataclass(frozen=True, slots=True)
class Chart:
    """A file, and what it says to those who do not see it."""

    title: str
    svg: str


def charts(found: Published) -> dict[str, Chart]:
    """Draw all charts; the key is the name of the file."""
    return {
        "speed": speed(found),
        "growth-passages": growth_passages(found),
        "growth-length": growth_length(found),
        "dtypes": dtypes(found),
    }


def speed(found: Published) -> Chart:
    """Compare our speed with other libraries', a panel for each dtype."""
    run = found.large
    panels = [_speed_panel(run, dtype, peers) for dtype, peers in run.dtypes.items()]
    systems = [PACKED, *run.dtypes["float32"]]
    largest = max(run.difference(system) for system in systems)
    rounds = run.content["settings"]["rounds"]
    caption = Caption(
        title=f"{headline(run)}, with the same scores",
        subtitle=f"{len(run.sets['mixed'])} passages, mixed lengths; {LARGE}, one core",
        footnote=f"{machine_line(run.content)}. Process CPU time, medians of {rounds} rounds; up to "
        f"{max(run.spread(system) for system in systems):.0%} between rounds. float32 scores differ by at most "
        f"{largest:.0e}. Batch 16: sorted by length.",
    )
    return Chart(caption.title, row_chart(panels, caption))


def _speed_panel(run: Engines, dtype: str, peers: list[str]) -> Panel:
    systems = sorted([packed(dtype), *peers], key=run.speed, reverse=True)
    return Panel(
        names=tuple(PEERS.get(system, "rerank").replace(f" {dtype}", "") for system in systems),  # the title has it
        tones=tuple(Tone.GREY if system in PEERS else Tone.ACCENT for system in systems),
        columns=(
            Bars("passages a second", *_labelled([run.speed(system) for system in systems], "{:.2f}")),
            Remarks(
                "rerank is",
                tuple(f"{run.against(system):.2f} times as fast" if system in PEERS else "" for system in systems),
            ),
        ),
        title=dtype,
    )


def headline(run: Engines) -> str:
    """Compare with the quickest peer in float32, and with a library that many use."""
    quickest = max(run.dtypes["float32"], key=run.speed)
    compared = dict.fromkeys((quickest, "sentence-transformers"))
    ratios = [f"{run.against(peer):.2f} times as fast as {PEERS[peer].replace(',', '')}" for peer in compared]
    return ", ".join(ratios)


def growth_passages(found: Published) -> Chart:
    """Show the time by the number of passages, with one thread and with two."""
    run = found.small_growth
    one, two = run.passages(1), run.passages(2)
    most = max(one)
    title = (
        f"Twice the passages take {one[most] / one[most // 2]:.1f} times as long; "
        f"two threads are {one[most] / two[most]:.1f} times as fast"
    )
    caption = Caption(
        title=title,
        subtitle=f"Passages of {run.length} tokens, query included; {SMALL}, float32",
        footnote=_growth_footnote(run),
    )
    lines = [
        Line(f"1 thread: {one[most]:.1f} s", tuple(one.items()), Tone.GREY),
        Line(f"2 threads: {two[most]:.1f} s", tuple(two.items()), Tone.ACCENT),
    ]
    return Chart(title, line_chart(lines, caption, across="passages of a request", up="seconds"))


def growth_length(found: Published) -> Chart:
    """Show the time by the length of a passage."""
    run = found.small_growth
    one, two = ({length: seconds * 1000 for length, seconds in run.lengths(threads).items()} for threads in (1, 2))
    longest = max(one)
    middle = longest // 4
    title = f"A passage of {longest} tokens takes {one[longest] / one[middle]:.1f} times as long as one of {middle}"
    caption = Caption(
        title=title,
        subtitle=f"One of many passages, query included; {SMALL}, float32",
        footnote=_growth_footnote(run),
    )
    lines = [
        Line(f"1 thread: {one[longest]:.0f} ms", tuple(one.items()), Tone.GREY),
        Line(f"2 threads: {two[longest]:.0f} ms", tuple(two.items()), Tone.ACCENT),
    ]
    chart = line_chart(
        lines, caption, across="tokens of a passage, with the query", up="milliseconds a passage", ticks=(0, *one)
    )
    return Chart(title, chart)


def dtypes(found: Published) -> Chart:
    """Show the speed and the change of nDCG@10 of each dtype."""
    run, quality = found.large, found.quality
    smaller = ("bfloat16", "int8")
    order = ("float32", "float16-weights", "bfloat16", "int8")
    changes = [quality.mean(dtype) for dtype in order]
    panel = Panel(
        names=order,
        tones=tuple(Tone.ACCENT if dtype in smaller else Tone.GREY for dtype in order),
        columns=(
            Bars("speed", *_labelled([run.dtype_speed(dtype) for dtype in order], "{:.1f} times")),
            Intervals(
                "change of nDCG@10",
                tuple(change if dtype in smaller else None for dtype, change in zip(order, changes, strict=True)),
                tuple(map(_change_label, order, changes)),
            ),
        ),
    )
    largest = max(abs(change.value) for change in changes if change)
    title = (
        f"bfloat16 is {run.dtype_speed('bfloat16'):.1f} times as fast as float32, "
        f"int8 {run.dtype_speed('int8'):.1f} times; ranking changes by {largest:.3f}"
    )
    queries, depth = (quality.content["settings"][name] for name in ("queries", "depth"))
    caption = Caption(
        title=title,
        subtitle=f"Speed: {LARGE}, mixed lengths, one core. Ranking: {SMALL}, {len(quality.collections)} collections",
        footnote=f"{machine_line(run.content)}. nDCG@10 of at most {queries} queries a collection, {depth} candidates "
        "each; the line is the 95% interval. The small model's file is float16: float16-weights round nothing in it.",
    )
    return Chart(title, row_chart([panel], caption))


def machine_line(content: JSON) -> str:
    """Name the processor and the version of torch."""
    machine = content["machine"]
    wide = [name for flag, name in (("amx_tile", "AMX"), ("avx512f", "AVX-512")) if flag in machine["flags"]]
    able = f" with {' and '.join(wide)}" if wide else ""
    return f"{processor_name(machine['processor'])}{able}, torch {machine['versions']['torch'].partition('+')[0]}"


def processor_name(named: str) -> str:
    """Shorten a processor's name: no marks, no words that say nothing."""
    for noise in ("(R)", "(TM)", " Processor", " CPU"):
        named = named.replace(noise, "")
    return named


def _growth_footnote(run: Growth) -> str:
    return f"{machine_line(run.content)}. Wall-clock time, medians of {run.content['settings']['rounds']} rounds."


def _change_label(dtype: str, change: Interval | None) -> str:
    if change is None or dtype == "float32":
        return ""
    return signed(change.value)


def signed(change: float) -> str:
    """A change of nDCG@10: -0.0012, with a minus and not a hyphen."""
    return f"{change:+.4f}".replace("-", "−")


def _labelled(values: list[float], form: str) -> tuple[tuple[float, ...], tuple[str, ...]]:
    return tuple(values), tuple(map(form.format, values))
