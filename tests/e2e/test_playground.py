"""``/playground`` in a real browser."""

import asyncio
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import httpx
import pytest
from rerank_core.models.scoring import sigmoid

QUERY = "where do pandas live?"
PASSAGES = [
    'It\'s "quoted" & <b>bold</b> `$HOME` \\n $(id)',
    "pandas live in China\nand eat bamboo",
    "大熊猫 lives in 中国 😀",
    "Paris is a city",
]
ACCESSIBLE = """() => {
  const named = (it) => it.ariaLabel || it.labels?.length || it.getAttribute('aria-labelledby') || it.innerText?.trim();
  const seen = [...document.querySelectorAll('input, textarea, button, a, pre, section, [role]')];
  const ids = [...document.querySelectorAll('[id]')].map((it) => it.id);
  const named_by = ['for', 'aria-labelledby', 'aria-describedby', 'aria-controls'].flatMap(
    (name) => [...document.querySelectorAll(`[${name}]`)].map((it) => it.getAttribute(name)));
  return {
    nameless: seen.filter((it) => !named(it) && !['status', 'alert'].includes(it.role) && !it.matches('.question'))
      .map((it) => it.outerHTML),
    dangling: named_by.filter((id) => !ids.includes(id)),
    twice: ids.filter((id, at) => ids.indexOf(id) !== at),
  };
}"""
# What a reader of little contrast needs: 4.5 : 1 for text, by WCAG 2.
CONTRAST = """() => {
  const canvas = Object.assign(document.createElement('canvas'), { width: 1, height: 1 }).getContext('2d');
  const rgba = (color) => {
    canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = color; canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const light = (color) => {
    const [r, g, b] = rgba(color).map((v) => v / 255).map((v) => v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4);
    return .2126 * r + .7152 * g + .0722 * b;
  };
  const behind = (it) => {
    for (; it; it = it.parentElement) {
      const color = getComputedStyle(it).backgroundColor;
      if (rgba(color)[3] === 255) return color;
    }
    return 'white';
  };
  const texts = [...document.body.querySelectorAll('*')].filter((it) => it.checkVisibility({ visibilityProperty: true })
    && [...it.childNodes].some((node) => node.nodeType === 3 && node.data.trim()));
  return texts.map((it) => {
    const [a, b] = [light(getComputedStyle(it).color), light(behind(it))];
    return [(Math.max(a, b) + .05) / (Math.min(a, b) + .05), it.tagName, it.className];
  }).filter(([ratio]) => ratio < 4.5);
}"""

pytestmark = pytest.mark.asyncio(loop_scope="module")

Visit: TypeAlias = Callable[..., AbstractAsyncContextManager[Any]]


async def fill(page: Any, query: str = QUERY, passages: list[str] | None = None) -> None:
    await page.get_by_role("textbox", name="Passages").fill("\n\n".join(passages or PASSAGES))
    await page.get_by_role("textbox", name="Question").fill(query)


async def shown(page: Any) -> list[tuple[str, float, float]]:
    """The rows, once the question that stands there is answered: passage, score and logit."""
    await page.locator("#found:not(.stale) #ranking[aria-busy=false] li").first.wait_for()
    rows = await page.locator("#ranking li").evaluate_all(
        """(rows) => rows.map((row) => [row.querySelector('.passage').textContent,
             ...['.score', '.raw'].map((name) => Number(row.querySelector(name).dataset.value))])"""
    )
    return [tuple(row) for row in rows]


async def answered(page: Any, query: str = QUERY, passages: list[str] | None = None) -> list[tuple[str, float, float]]:
    """The rows of a question that is typed now."""
    await fill(page, query, passages)
    return await shown(page)


def results(url: str, query: str, passages: list[str], **fields: Any) -> list[dict[str, Any]]:
    body = {"query": query, "documents": passages, **fields}
    answer: dict[str, Any] = httpx.post(f"{url}/v1/rerank", json=body, timeout=60).raise_for_status().json()
    return list(answer["results"])


def expected(url: str, query: str, passages: list[str], **fields: Any) -> list[tuple[str, float]]:
    return scored(results(url, query, passages, **fields), passages)


def scored(found: list[dict[str, Any]], passages: list[str]) -> list[tuple[str, float]]:
    return [(passages[result["index"]], result["relevance_score"]) for result in found]


async def test_what_is_typed_is_shown_in_the_order_and_with_the_scores_of_the_server(
    visit: Visit, lite_server: Any
) -> None:
    async with visit(lite_server.url) as page:
        rows = await answered(page)
        moves = await page.locator(".moved [aria-hidden]").all_inner_texts()
        timings = await page.locator("#timings").inner_text()
        title = await page.locator("#model").inner_text()

    wanted = expected(lite_server.url, QUERY, PASSAGES)
    assert [text for text, _, _ in rows] == [text for text, _ in wanted]
    assert [score for _, score, _ in rows] == pytest.approx([score for _, score in wanted])
    assert [(text, raw) for text, _, raw in rows] == expected(lite_server.url, QUERY, PASSAGES, raw_scores=True)
    assert rows[0][0] == PASSAGES[1]
    assert moves[0] == "2 → 1"
    assert re.search(r"server\s+\d+ ms", timings)
    assert re.search(r"model\s+\d+ ms", timings)
    assert "lite" in title


async def test_the_page_opens_with_an_example_that_is_answered(visit: Visit, lite_server: Any) -> None:
    async with visit(lite_server.url, "/") as page:
        rows = await shown(page)
        url = page.url

    assert url == f"{lite_server.url}/playground"
    assert len(rows) == 6
    assert "twenty years" in rows[0][0]


async def test_only_the_last_of_many_keys_is_asked_about(visit: Visit, tiny_server: Any) -> None:
    async with visit(tiny_server.url) as page:
        await shown(page)
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.post_data_json["query"]))
        await page.get_by_role("textbox", name="Question").fill("")
        async with page.expect_response(lambda response: response.request.post_data_json["query"] == "who am I"):
            await page.get_by_role("textbox", name="Question").press_sequentially("who am I")

    assert asked[-1] == "who am I"
    assert len(asked) < len("who am I")


async def test_a_question_that_is_typed_over_is_dropped(visit: Visit, faulty: Any) -> None:
    """The one in hand is called off, and its answer is never shown."""
    with faulty() as server:
        async with visit(server.url) as page:
            await shown(page)
            async with page.expect_event("requestfailed", lambda failed: "hold" in failed.post_data):
                async with page.expect_request(lambda request: "hold" in (request.post_data or "")):
                    await fill(page, "first", ["hold"])
                await fill(page, "second", ["hold on"])
            async with page.expect_event("requestfailed"):
                await page.get_by_text("asking …").wait_for()
                await page.keyboard.press("Escape")
            notice = await page.locator("#notice").inner_text()
        server.process.kill()

    assert "Cancelled" in notice


async def test_the_keyboard_does_everything(visit: Visit, tiny_server: Any) -> None:
    async with visit(tiny_server.url) as page:
        await shown(page)
        await page.keyboard.press("/")
        on_question = await page.evaluate("document.activeElement.id")
        async with page.expect_request("**/v1/rerank"):
            await page.keyboard.press("Control+Enter")
        await page.get_by_role("tab", name="curl").focus()
        await page.keyboard.press("ArrowRight")
        python = await page.locator("#code").inner_text()
        await page.keyboard.press("ArrowLeft")
        await page.keyboard.press("ArrowLeft")
        around = await page.evaluate("document.activeElement.textContent")
        await page.keyboard.press("Tab")
        await page.keyboard.press("Enter")
        copied = await page.evaluate("navigator.clipboard.readText()")

    assert on_question == "question"
    assert "HTTPScorer" in python
    assert around == "LlamaIndex"
    assert "RerankPostprocessor" in copied


@pytest.mark.parametrize(
    ("tab", "passages"),
    [
        *((tab, PASSAGES) for tab in ("curl", "Python", "JavaScript", "LangChain", "LlamaIndex")),
        ("curl", [f"{n} {'pandas' * 2000}" for n in range(12)]),  # more than an argument may hold
    ],
)
async def test_code_that_is_copied_runs_and_gives_the_same_ranking(
    visit: Visit, tiny_server: Any, tmp_path: Path, tab: str, passages: list[str]
) -> None:
    query = 'where\'s a "panda"? $(id) \\'
    command = {"curl": "bash", "JavaScript": "node"}.get(tab, sys.executable)
    if shutil.which(command) is None:
        pytest.skip(f"SKIPPED LOUDLY: {command} is not installed, the code of the tab {tab} was not run")
    async with visit(tiny_server.url) as page:
        rows = await answered(page, query, passages)
        await page.get_by_role("tab", name=tab).click()
        await page.get_by_role("button", name="Copy").click()
        await page.get_by_role("button", name="Copied").wait_for()
        code = await page.evaluate("navigator.clipboard.readText()")

    wanted = expected(tiny_server.url, query, passages)
    assert len(rows) == len(wanted)
    said = await run(code, tmp_path, command)
    if tab == "curl":
        assert scored(json.loads(said)["results"], passages) == wanted
    else:
        assert said == "".join(f"{score:.4f}  {text}\n" for text, score in wanted)


async def run(code: str, folder: Path, command: str) -> str:
    """What a program writes. It has to end well, and to warn of nothing."""
    file = folder / "code.mjs"  # only node looks at its name
    file.write_text(code, encoding="utf-8")
    asked = partial(subprocess.run, [command, file], capture_output=True, text=True, timeout=100)
    done = await asyncio.to_thread(asked)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


async def test_a_model_that_takes_an_instruction_has_a_field_for_it(visit: Visit, faulty: Any, tmp_path: Path) -> None:
    instruction = 'it\'s "about" a city $(id)'
    with faulty(INSTRUCTION="about China") as server:
        async with visit(server.url, viewport={"width": 360, "height": 740}) as page:
            own = await answered(page)
            field = page.get_by_role("textbox", name="Instruction")
            placeholder = await field.get_attribute("placeholder")
            await field.fill(instruction)
            rows = await shown(page)
            codes = {}
            for tab in ("curl", "Python", "LangChain", "LlamaIndex"):
                await page.get_by_role("tab", name=tab).click()
                codes[tab] = await page.locator("#code").inner_text()
            accessible, faint = await page.evaluate(ACCESSIBLE), await page.evaluate(CONTRAST)
            width = await page.evaluate("document.documentElement.scrollWidth")
        wanted = expected(server.url, QUERY, PASSAGES, instruction=instruction)
        assert [(text, raw) for text, _, raw in own] == expected(server.url, QUERY, PASSAGES, raw_scores=True)
        assert scored(json.loads(await run(codes.pop("curl"), tmp_path, "bash"))["results"], PASSAGES) == wanted
        for code in codes.values():
            said = await run(code, tmp_path, sys.executable)
            assert said == "".join(f"{score:.4f}  {text}\n" for text, score in wanted)

    assert placeholder == "about China"
    assert [text for text, _, _ in rows] == [text for text, _ in wanted]
    assert rows[0][0] == PASSAGES[3] != own[0][0]
    assert accessible == {"nameless": [], "dangling": [], "twice": []}
    assert faint == []
    assert width <= 360


async def test_a_model_that_takes_none_has_no_field_for_an_instruction(visit: Visit, tiny_server: Any) -> None:
    async with visit(tiny_server.url) as page:
        await shown(page)
        assert await page.locator("#instruction:visible").count() == 0


async def test_a_server_that_asks_for_a_key_opens_the_field_and_takes_the_key(
    visit: Visit, serving: Callable[..., Any], tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(tiny, RERANK_API_KEYS="the-key") as server:
        async with visit(server.url) as page:
            failure = page.get_by_role("alert").filter(has_text="needs an API key")
            await failure.wait_for()
            field = page.locator("#key")
            await field.fill("another")
            await page.get_by_role("alert").filter(has_text="not one that the server knows").wait_for()
            await field.fill("the-key")
            rows = await shown(page)
            await fill(page)
            curl = await page.locator("#code").inner_text()
            await page.get_by_role("tab", name="Python").click()
            python = await page.locator("#code").inner_text()
            await page.reload()
            after = await shown(page)
            kept = await page.evaluate("[localStorage.length, document.cookie, sessionStorage.length]")
        monkeypatch.setenv("RERANK_API_KEY", "the-key")
        ran = [await run(curl, tmp_path, "bash"), await run(python, tmp_path, sys.executable)]

    assert len(rows) == len(after) == 6
    assert kept == [0, "", 1]
    assert "the-key" not in curl + python
    assert "relevance_score" in ran[0]
    assert PASSAGES[3] in ran[1]


async def test_what_the_server_refuses_is_said_in_its_words(
    visit: Visit, serving: Callable[..., Any], tiny: Path
) -> None:
    with serving(tiny, RERANK_MAX_DOCUMENTS="6") as server:
        async with visit(server.url) as page:
            await shown(page)
            await fill(page, QUERY, [f"passage {n}" for n in range(7)])
            failure = page.get_by_role("alert").filter(has_text="The request has 7 documents")
            await failure.wait_for()
            stale = await page.locator("#found.stale").count()
            await fill(page)
            await failure.wait_for(state="hidden")
            rows = await shown(page)

    assert stale == 1
    assert len(rows) == len(PASSAGES)


async def test_a_full_server_says_when_to_try_again(visit: Visit, faulty: Any) -> None:
    with faulty(RERANK_MAX_QUEUE_PAIRS="6", RERANK_MAX_DOCUMENTS="6") as server:
        async with visit(server.url) as page, httpx.AsyncClient(base_url=server.url, timeout=60) as client:
            await shown(page)
            body = {"query": "x", "documents": ["hold", *"12345"]}
            held = asyncio.create_task(client.post("/v1/rerank", json=body))
            while "rerank_in_flight_pairs 6.0" not in (await client.get("/metrics")).text:
                pass
            await fill(page)
            await page.get_by_role("alert").filter(has_text=re.compile(r"Try again in \d+ s\.")).wait_for()
            held.cancel()
        server.process.kill()


async def test_a_server_that_is_loading_is_asked_again_by_itself(visit: Visit, tiny_server: Any) -> None:
    async with visit(tiny_server.url) as page:
        await shown(page)
        refusals = iter([{"message": "the server is loading: try again"}])

        async def answer(route: Any) -> None:
            if (refusal := next(refusals, None)) is None:
                await route.continue_()
            else:
                await route.fulfill(status=503, json=refusal, headers={"Retry-After": "1"})

        await page.route("**/v1/rerank", answer)
        await fill(page)
        failure = page.get_by_role("alert").filter(has_text="The server is loading: try again. Asking again in 1 s.")
        await failure.wait_for()
        await failure.wait_for(state="hidden")
        rows = await shown(page)

    assert len(rows) == len(PASSAGES)


async def test_a_server_that_is_gone_is_said_to_be(visit: Visit, serving: Callable[..., Any], tiny: Path) -> None:
    with serving(tiny) as server:
        async with visit(server.url) as page:
            await shown(page)
            server.process.terminate()
            await asyncio.to_thread(server.process.wait, 30)
            await fill(page)
            await page.get_by_role("alert").filter(has_text="The server cannot be reached").wait_for()


async def test_passages_that_were_cut_are_counted(visit: Visit, tiny_server: Any) -> None:
    async with visit(tiny_server.url) as page:
        await answered(page, QUERY, ["short", "word " * 1000, "term " * 1000])
        notice = await page.locator("#notice").inner_text()

    assert notice.startswith("2 passages were cut at ")


async def test_the_span_that_won_is_marked_in_a_long_passage(visit: Visit, tiny_server: Any) -> None:
    """Its offsets count characters, not the halves of which JavaScript makes some."""
    passage = "😀 " * 300 + "here it is" + " 😀" * 300
    spans = [{"start": 0, "end": 5, "score": 0.1}, {"start": 600, "end": 610, "score": 0.9}]

    async def answer(route: Any) -> None:
        asked.append(route.request.post_data_json)
        result = {"index": 0, "relevance_score": 1.5, "relevant_spans": spans}
        await route.fulfill(json={"results": [result], "usage": {"truncated": 0}})

    asked: list[dict[str, Any]] = []
    async with visit(tiny_server.url) as page:
        await shown(page)
        await page.route("**/v1/rerank", answer)
        async with page.expect_response("**/v1/rerank"):
            await fill(page, QUERY, [passage])
        async with page.expect_response("**/v1/rerank"):
            await page.get_by_label("Score long passages whole").check()
        marked = await page.locator("mark").inner_text()
        folded = await page.locator(".passage").inner_text()
        await page.get_by_role("button", name="Show all").click()
        unfolded = await page.locator(".passage").inner_text()
        still = await page.locator("mark").inner_text()
        code = await page.locator("#code").inner_text()

    assert "long_documents" not in asked[-2]
    assert asked[-1]["long_documents"] == "chunk"
    assert '"long_documents": "chunk"' in code
    assert marked == still == "here it is"
    assert folded.startswith("…\xa0")
    assert len(folded) < 400
    assert unfolded == passage


async def test_the_part_of_a_long_passage_that_won_is_the_one_that_the_server_names(
    visit: Visit, lite_server: Any
) -> None:
    filler = "The train leaves the old station at noon 🚂. "
    passage = (filler * 60 + "Giant pandas live in the mountains of China. " + filler * 60).strip()
    async with visit(lite_server.url) as page:
        await page.get_by_label("Score long passages whole").check()
        rows = await answered(page, QUERY, ["short", passage])
        await page.get_by_role("button", name="Show all").click()
        marked = await page.locator("mark").all_inner_texts()
        await page.get_by_role("tab", name="Python").click()
        code = await page.locator("#code").inner_text()

    best = results(lite_server.url, QUERY, ["short", passage], long_documents="chunk", raw_scores=True)[0]
    assert best["index"] == 1
    assert rows[0][2] == best["relevance_score"]
    assert marked == [passage[span["start"] : span["end"]] for span in best["relevant_spans"]]
    assert 'ScoreOptions(long_documents="chunk")' in code


async def test_the_best_sentence_is_marked_where_that_is_asked_for(
    visit: Visit, lite_server: Any, tmp_path: Path
) -> None:
    passages = ["The train leaves at noon 🚂. Giant pandas live in the mountains of China. It rains.", "One sentence"]
    async with visit(lite_server.url) as page:
        await answered(page, QUERY, passages)
        plain = await page.locator("mark").count()
        async with page.expect_response("**/v1/rerank"):
            await page.get_by_label("Mark the best sentence").check()
        rows = await shown(page)
        marked = await page.locator("mark").all_inner_texts()
        await page.get_by_role("tab", name="Python").click()
        code = await page.locator("#code").inner_text()

    wanted = expected(lite_server.url, QUERY, passages)
    assert plain == 0
    assert [text for text, _, _ in rows] == [text for text, _ in wanted]
    assert marked == ["Giant pandas live in the mountains of China."]
    assert 'ScoreOptions(highlight="sentences")' in code
    assert await run(code, tmp_path, sys.executable) == "".join(f"{score:.4f}  {text}\n" for text, score in wanted)


@pytest.mark.parametrize("calibration", [[2.0, -1.0], {"a": 2.0, "b": -1.0}])
async def test_scores_are_those_of_a_server_that_is_calibrated(
    visit: Visit, tiny_server: Any, calibration: object
) -> None:
    """And its own way with long passages is where the switch begins."""

    async def answer(route: Any) -> None:
        said = await (await route.fetch()).json()
        said["model"] |= {"calibration": calibration, "long_documents": "chunk"}
        await route.fulfill(json=said)

    async with visit(tiny_server.url) as page:
        await page.route(f"{tiny_server.url}/", answer)
        await page.reload()
        rows = await shown(page)
        whole = page.get_by_label("Score long passages whole")
        on = await whole.is_checked()
        await whole.uncheck()
        code = await page.locator("#code").inner_text()

    assert [score for _, score, _ in rows] == [pytest.approx(sigmoid(2 * raw - 1)) for _, _, raw in rows]
    assert on
    assert '"long_documents": "truncate"' in code


@pytest.mark.parametrize(
    ("name", "content", "count"),
    [
        ("a.txt", "one\nstill one\n\n \n\ntwo\r\n\r\nthree", 3),
        ("a.jsonl", '{"text": "one\\n\\nstill one"}\n\n"two"\n', 2),
    ],
)
async def test_a_file_fills_the_passages(
    visit: Visit, tiny_server: Any, tmp_path: Path, name: str, content: str, count: int
) -> None:
    (tmp_path / name).write_bytes(content.encode())
    async with visit(tiny_server.url) as page:
        await shown(page)
        async with page.expect_response("**/v1/rerank") as response, page.expect_file_chooser() as chooser:
            await page.get_by_role("button", name="Open a file").click()
            await (await chooser.value).set_files(tmp_path / name)
        sent = (await response.value).request.post_data_json["documents"]
        said = await page.locator("#count").inner_text()

    assert len(sent) == count
    assert sent[0].startswith("one\n")
    assert said == f"{count} passages"


async def test_a_file_that_cannot_be_read_is_refused_with_its_line(visit: Visit, tiny_server: Any) -> None:
    async with visit(tiny_server.url) as page:
        await shown(page)
        dropped = """() => {
          const data = new DataTransfer();
          data.items.add(new File(['{"text": "one"}\\n{"title": "two"}'], 'b.jsonl'));
          document.body.dispatchEvent(new DragEvent('drop', { dataTransfer: data, bubbles: true, cancelable: true }));
        }"""
        await page.evaluate(dropped)
        await page.get_by_role("alert").filter(has_text='b.jsonl cannot be read: line 2 has no "text".').wait_for()


async def test_passages_may_stand_one_a_line(visit: Visit, tiny_server: Any) -> None:
    async with visit(tiny_server.url) as page:
        await answered(page, QUERY, ["one\ntwo\nthree"])
        before = await page.locator("#count").inner_text()
        await page.get_by_label("One passage a line").check()
        after = await page.locator("#count").inner_text()

    assert (before, after) == ("1 passage", "3 passages")


async def test_of_a_long_ranking_the_best_are_shown_and_the_others_where_they_are_asked_for(
    visit: Visit, tiny_server: Any
) -> None:
    passages = [f"passage {n}" for n in range(200)]
    async with visit(tiny_server.url, viewport={"width": 360, "height": 740}) as page:
        best = await answered(page, QUERY, passages)
        await page.get_by_role("button", name="Show all 200").click()
        everything = await shown(page)
        cut = await page.locator(".moved").evaluate_all(
            "(all) => all.filter((it) => it.scrollWidth > it.clientWidth).length"
        )
        reader = await page.evaluate("[...document.querySelectorAll('#ranking li')].indexOf(document.activeElement)")
        await fill(page, "another question")
        async with page.expect_response("**/v1/rerank"):
            await fill(page, QUERY, passages)
        still = await shown(page)
        await page.get_by_role("button", name="Show the best 20 only").click()
        again = await shown(page)
        await answered(page)
        buttons = await page.locator("#more:visible").count()

    assert best == again == everything[:20]
    assert sorted(text for text, _, _ in everything) == sorted(passages)
    assert len(still) == 200
    assert cut == 0
    assert reader == 20
    assert buttons == 0


async def test_a_text_that_is_written_from_right_to_left_is_shown_so(visit: Visit, tiny_server: Any) -> None:
    direction = "(it) => getComputedStyle(it).direction"
    async with visit(tiny_server.url) as page:
        await answered(page, "أين يعيش الباندا؟", ["يعيش الباندا في الصين", "pandas live in China"])
        question = await page.locator("#question").evaluate(direction)
        rows = await page.locator(".passage").evaluate_all(
            f"(all) => all.map((it) => [it.textContent, ({direction})(it)])"
        )

    assert question == "rtl"
    assert dict(rows) == {"يعيش الباندا في الصين": "rtl", "pandas live in China": "ltr"}


async def test_a_model_for_english_only_is_said_to_be_one(visit: Visit, lite_server: Any, tiny_server: Any) -> None:
    async with visit(lite_server.url) as page:
        await page.get_by_text("This model reads English only").wait_for()
    async with visit(tiny_server.url) as page:
        await shown(page)
        notes = await page.locator("#languages:visible").count()

    assert notes == 0


async def test_it_works_below_a_prefix(visit: Visit, serving: Callable[..., Any], tiny: Path) -> None:
    with serving(tiny, RERANK_ROOT_PATH="/models/rerank") as server:
        async with visit(server.url, "/models/rerank") as page:
            rows = await shown(page)
            code = await page.locator("#code").inner_text()

    assert len(rows) == 6
    assert f"'{server.url}/models/rerank/v1/rerank'" in code


async def test_below_the_prefix_of_a_dialect_it_opens_where_it_works(visit: Visit, tiny_server: Any) -> None:
    async with visit(tiny_server.url, "/tei/playground") as page:
        rows = await shown(page)
        url = page.url

    assert url == f"{tiny_server.url}/playground"
    assert len(rows) == 6


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_everything_has_a_name_and_can_be_read(visit: Visit, tiny_server: Any, scheme: str) -> None:
    async with visit(tiny_server.url, color_scheme=scheme) as page:
        await answered(page, QUERY, [*PASSAGES, "word " * 1000])
        await page.get_by_role("button", name="API key").click()
        found = await page.evaluate(ACCESSIBLE)
        faint = await page.evaluate(CONTRAST)
        background = await page.evaluate("getComputedStyle(document.body).backgroundColor")

    assert found == {"nameless": [], "dangling": [], "twice": []}
    assert faint == []
    brightness = sum(int(part) for part in re.findall(r"\d+", background)[:3]) / 3
    assert (brightness < 64) == (scheme == "dark")


async def test_it_fits_a_phone(visit: Visit, tiny_server: Any) -> None:
    async with visit(tiny_server.url, viewport={"width": 360, "height": 740}) as page:
        await answered(page, QUERY, [*PASSAGES, "unbreakable" * 100, "word " * 1000])
        await page.get_by_role("button", name="API key").click()
        width = await page.evaluate("document.documentElement.scrollWidth")

    assert width <= 360
