// The page: asks as you type, and shows what comes back.

import { WRITERS } from "./playground-code.js";
import { fieldOf, isLong, languageNote, passagesOf, piecesOf, utf16Span } from "./playground-text.js";

const DELAY = 250; // milliseconds without a key pressed, then it asks
const SHOWN = 20; // rows of a ranking that are shown at first
const KEY = "rerank.key";
const BASE = new URL(".", location.href); // also behind a path prefix

const $ = (id) => document.getElementById(id);

let model = null; // what `GET /` says of it
let asking = null; // the AbortController of the request in hand
let timer = 0;
let rows = []; // functions that make the rows of the ranking, best first
let unfolded = false; // whether more rows than SHOWN are shown

// ---- asking

function asked() {
  return {
    base: BASE.href.replace(/\/$/, ""),
    query: $("question").value.trim(),
    documents: passagesOf($("passages").value, $("by-line").checked),
    long: longDocuments(),
    highlight: $("sentences").checked ? "sentences" : null,
    instruction: instruction(),
    key: Boolean($("key").value.trim()),
  };
}

/** What to ask for long passages; null: nothing, the server does so anyway. Only who asks is told the spans. */
function longDocuments() {
  if ($("whole").checked) return "chunk";
  return model?.long_documents === "chunk" ? "truncate" : null;
}

/** What the question asks for; null: nothing is sent, and the model has its own. */
function instruction() {
  return (model?.takes_instruction && $("instruction").value.trim()) || null;
}

function changed() {
  const now = asked();
  $("count").textContent = plural(now.documents.length, "passage");
  showCode(now);
  cancel();
  busy(true);
  timer = setTimeout(ask, DELAY);
}

function cancel() {
  const waited = Boolean(timer || asking);
  clearTimeout(timer);
  timer = 0;
  asking?.abort();
  asking = null;
  busy(false);
  return waited;
}

function busy(is) {
  if (!is) $("busy").textContent = "";
  $("ranking").setAttribute("aria-busy", String(is));
}

async function ask() {
  cancel();
  const { query, documents, long, highlight, instruction } = asked();
  if (!query || !documents.length) {
    show([], {});
    tell(query ? "Paste passages to rank them." : "Type a question to rank the passages.");
    return;
  }
  const controller = (asking = new AbortController());
  busy(true);
  // What is quick needs no word.
  const late = setTimeout(() => ($("busy").textContent = "asking …"), 400);
  const began = performance.now();
  try {
    const options = {
      ...(long && { long_documents: long }),
      ...(highlight && { highlight }),
      ...(instruction && { instruction }),
    };
    const response = await send({ query, documents, raw_scores: true, ...options });
    const body = await response.json().catch(() => null);
    const took = performance.now() - began;
    const answered = response.ok && Array.isArray(body?.results);
    if (answered && !model?.max_length) await look(); // it was still loading
    if (asking !== controller) return;
    asking = null;
    if (!answered) return refused(response, body);
    show(documents, body, response.headers, took);
  } catch (error) {
    if (asking !== controller) return; // cancelled, by the next one or by hand
    asking = null;
    fail(`The server cannot be reached: ${error.message}.`);
  } finally {
    clearTimeout(late);
    if (asking === null) busy(false);
  }
}

function send(body) {
  const headers = { "Content-Type": "application/json", Accept: "application/json" };
  const key = $("key").value.trim();
  if (key) headers.Authorization = `Bearer ${key}`;
  const signal = asking.signal;
  return fetch(new URL("v1/rerank", BASE), { method: "POST", headers, body: JSON.stringify(body), signal });
}

/** What runs here. A server that hides its `/` is used all the same, for raw scores. */
async function look() {
  try {
    const response = await fetch(BASE, { headers: { Accept: "application/json" } });
    const found = (await response.json()).model;
    if (!model?.max_length && found.long_documents === "chunk") $("whole").checked = true;
    model = found;
    const limit = model.max_length ? `${model.max_length} tokens` : null;
    $("model").textContent = [model.name, model.kind, model.device, model.dtype, limit].filter(Boolean).join(" · ");
    const note = languageNote(model.languages);
    $("languages").textContent = note;
    $("languages").hidden = !note;
    $("instruction-panel").hidden = !model.takes_instruction;
    $("instruction").placeholder = model.instruction ?? "";
  } catch {
    model = null;
  }
}

// ---- what goes wrong, in words

function refused(response, body) {
  const said = messageOf(body) ?? `the server answered with status ${response.status}`;
  const seconds = Number(response.headers.get("Retry-After")) || 0;
  if (response.status === 401) {
    openKey(true);
    $("key").setAttribute("aria-invalid", "true");
    return fail(sentence(said));
  }
  if (response.status === 503) {
    const wait = Math.max(seconds, 1);
    fail(`${sentence(said)} Asking again in ${wait} s.`);
    timer = setTimeout(ask, wait * 1000);
    return;
  }
  if (response.status === 429) return fail(`${sentence(said)} Try again${seconds ? ` in ${seconds} s` : " later"}.`);
  fail(sentence(said));
}

function messageOf(body) {
  const said = body?.message ?? body?.detail ?? body?.error;
  return typeof said === "string" && said ? said : null;
}

const sentence = (text) => text[0].toUpperCase() + text.slice(1) + (/[.!?]$/.test(text) ? "" : ".");

function fail(message, { stale = true } = {}) {
  $("failure").textContent = message;
  $("failure").hidden = false;
  $("notice").hidden = true;
  if (stale) $("found").classList.add("stale"); // what is shown answers an earlier question
}

function tell(message) {
  $("failure").hidden = true;
  $("notice").textContent = message;
  $("notice").hidden = !message;
}

// ---- the ranking

/** From the model's own number to [0, 1], as the server does it: asking for both would compute all twice. */
function normalised(raw) {
  if (!model) return null;
  const [a, b] = model.calibration ? Object.values(model.calibration) : [1, 0]; // [a, b] or {a, b}
  return 1 / (1 + Math.exp(-(a * raw + b)));
}

function show(documents, body, headers, milliseconds) {
  const results = (body.results ?? []).map(({ index, relevance_score: raw, relevant_spans: spans, sentences }) => ({
    index,
    raw,
    score: normalised(raw),
    text: documents[index],
    span: bestSpan(documents[index], sentences ?? spans),
  }));
  // A cosine's sigmoid hardly moves: the bars of a bi-encoder show the cosine itself.
  const shown = (result) => (model?.kind === "bi-encoder" ? result.raw : (result.score ?? result.raw));
  const best = Math.max(0, ...results.map(shown));
  rows = results.map((result, place) => () => row(result, place, best && shown(result) / best));
  showRows();
  $("found").classList.remove("stale");
  $("key").removeAttribute("aria-invalid");
  const cut = body.usage?.truncated ?? 0;
  const limit = model?.max_length ? ` at ${model.max_length} tokens` : "";
  const hint = $("whole").checked ? "" : " “Score long passages whole” reads the rest, too.";
  tell(cut ? `${plural(cut, "passage")} ${cut === 1 ? "was" : "were"} cut${limit}.${hint}` : "");
  showTimings(headers, body.usage, milliseconds);
  if (results.length) {
    const first = `passage ${results[0].index + 1} first`;
    $("announced").textContent = `${plural(results.length, "passage")} ranked, ${first}.`;
  }
}

/** The best rows, or all of them: two hundred passages would push everything else off the page. */
function showRows() {
  $("ranking").replaceChildren(...rows.slice(0, unfolded ? rows.length : SHOWN).map((write) => write()));
  $("ranking").style.setProperty("--digits", String(rows.length).length); // of the numbers in "151 → 1"
  $("more").hidden = rows.length <= SHOWN;
  $("more").setAttribute("aria-expanded", String(unfolded));
  $("more").textContent = unfolded ? `Show the best ${SHOWN} only` : `Show all ${rows.length}`;
}

$("more").addEventListener("click", () => {
  unfolded = !unfolded;
  showRows();
  if (unfolded) {
    const next = $("ranking").children[SHOWN]; // whoever reads on begins here
    next.tabIndex = -1;
    next.focus({ preventScroll: true });
  } else {
    $("more").scrollIntoView({ block: "nearest" });
  }
});

function bestSpan(text, spans) {
  if (!spans?.length) return null;
  const best = spans.reduce((one, other) => (other.score > one.score ? other : one));
  const span = utf16Span(text, best);
  return span.start === 0 && span.end === text.length ? null : span; // all of a short one
}

function row({ index, raw, score, text, span }, place, share) {
  const item = document.createElement("li");
  const before = index + 1;
  const after = place + 1;
  const moved = after < before ? "up" : after > before ? "down" : "same";
  const rank = make("span", "rank", `${after}`);
  const from = make("span", `moved ${moved}`);
  const arrow = make("span", "", before === after ? "" : `${before} → ${after}`);
  arrow.setAttribute("aria-hidden", "true");
  from.append(arrow, make("span", "unseen", `Passage ${before} as given`));
  const bar = make("div", "score-bar");
  bar.setAttribute("aria-hidden", "true");
  const fill = make("div", "fill");
  fill.style.width = `${Math.min(Math.max(share, 0), 1) * 100}%`;
  bar.append(fill);
  const numbers = make("div", "numbers");
  if (score !== null) numbers.append(number("score", score, 4));
  numbers.append(number("raw", raw, 3, "raw "));
  const body = make("div", "body");
  const passage = make("p", "passage");
  passage.dir = "auto";
  fillPassage(passage, text, span, false);
  body.append(passage);
  if (isLong(text)) body.append(unfolding(passage, text, span, after));
  item.append(rank, body, numbers, bar, from);
  return item;
}

function number(name, value, digits, before = "") {
  const element = make("span", name, before + value.toFixed(digits).replace("-", "−"));
  element.dataset.value = value;
  return element;
}

function fillPassage(passage, text, span, whole) {
  const pieces = piecesOf(text, span, whole);
  passage.replaceChildren(...pieces.map((piece) => (piece.marked ? make("mark", "", piece.text) : piece.text)));
}

function unfolding(passage, text, span, place) {
  const button = make("button", "unfold", "Show all");
  button.type = "button";
  button.setAttribute("aria-label", `Show all of number ${place}`);
  button.setAttribute("aria-expanded", "false");
  button.addEventListener("click", () => {
    const whole = button.getAttribute("aria-expanded") === "false";
    button.setAttribute("aria-expanded", String(whole));
    button.textContent = whole ? "Show less" : "Show all";
    button.setAttribute("aria-label", `${button.textContent} of number ${place}`);
    fillPassage(passage, text, span, whole);
  });
  return button;
}

const TIMINGS = {
  "x-total-time": "server",
  "x-tokenization-time": "tokenising",
  "x-queue-time": "queue",
  "x-inference-time": "model",
};

function showTimings(headers, usage, milliseconds) {
  const rows = [];
  if (headers) {
    rows.push(["round trip", `${Math.round(milliseconds)} ms`]);
    for (const [header, name] of Object.entries(TIMINGS)) {
      const value = headers.get(header);
      if (value !== null) rows.push([name, `${value} ms`]);
    }
    const tokens = headers.get("x-compute-tokens") ?? usage?.total_tokens;
    if (tokens !== undefined) rows.push(["tokens", tokens]);
  }
  $("timings").replaceChildren(
    ...rows.map(([name, value]) => {
      const pair = make("div", "");
      pair.append(make("dt", "", name), make("dd", "", value));
      return pair;
    }),
  );
}

// ---- code to copy

const tabs = [...$("tabs").children];
const chosen = () => tabs.find((tab) => tab.getAttribute("aria-selected") === "true");

function showCode(now) {
  $("code").textContent = WRITERS[chosen().id.replace("tab-", "")](now);
}

function choose(tab) {
  for (const other of tabs) {
    other.setAttribute("aria-selected", String(other === tab));
    other.tabIndex = other === tab ? 0 : -1;
  }
  $("panel").setAttribute("aria-labelledby", tab.id);
  showCode(asked());
}

const STEPS = { ArrowRight: 1, ArrowLeft: -1 };

$("tabs").addEventListener("click", (event) => tabs.includes(event.target) && choose(event.target));
$("tabs").addEventListener("keydown", (event) => {
  const at = tabs.indexOf(chosen());
  const to = { Home: 0, End: tabs.length - 1 }[event.key] ?? (event.key in STEPS ? at + STEPS[event.key] : null);
  if (to === null) return;
  event.preventDefault();
  const tab = tabs.at(to % tabs.length);
  choose(tab);
  tab.focus();
});

$("copy").addEventListener("click", async () => {
  const copied = await copy($("code"));
  $("copy").textContent = copied ? "Copied" : "Press Ctrl C";
  $("announced").textContent = copied ? "Copied." : "Selected: press Ctrl C to copy.";
  setTimeout(() => ($("copy").textContent = "Copy"), 2000);
});

/** Where the page came over plain HTTP from elsewhere, the browser has no clipboard for it: then by selection. */
async function copy(element) {
  try {
    await navigator.clipboard.writeText(element.textContent);
    return true;
  } catch {
    getSelection().selectAllChildren(element);
    return document.execCommand("copy");
  }
}

// ---- files

async function read(file) {
  try {
    const { text, byLine } = fieldOf(file.name, await file.text());
    $("passages").value = text;
    if (byLine !== null) $("by-line").checked = byLine;
    changed();
  } catch (error) {
    fail(`${file.name} cannot be read: ${error.message}.`, { stale: false });
  }
}

$("open").addEventListener("click", () => $("file").click());
$("file").addEventListener("change", (event) => {
  const [file] = event.target.files;
  event.target.value = ""; // the same file may be opened again
  if (file) read(file);
});

const carriesFile = (event) => event.dataTransfer?.types.includes("Files");

addEventListener("dragover", (event) => {
  if (!carriesFile(event)) return;
  event.preventDefault();
  $("given").classList.add("over");
});
addEventListener("dragleave", (event) => event.relatedTarget || $("given").classList.remove("over"));
addEventListener("drop", (event) => {
  $("given").classList.remove("over");
  if (!carriesFile(event)) return;
  event.preventDefault(); // else the browser would leave for the file
  read(event.dataTransfer.files[0]);
});

// ---- the key

function openKey(open) {
  $("key-panel").hidden = !open;
  $("key-toggle").setAttribute("aria-expanded", String(open));
}

function keep(key) {
  try {
    if (key) sessionStorage.setItem(KEY, key);
    else sessionStorage.removeItem(KEY);
  } catch {
    // a browser that keeps nothing: then it is typed again
  }
}

function kept() {
  try {
    return sessionStorage.getItem(KEY) ?? "";
  } catch {
    return "";
  }
}

$("key-toggle").addEventListener("click", () => {
  openKey($("key-panel").hidden);
  if (!$("key-panel").hidden) $("key").focus();
});

// ---- the keyboard

addEventListener("keydown", (event) => {
  const typing = event.target.matches?.("input:not([type=checkbox]), textarea");
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
    event.preventDefault();
    ask();
  } else if (event.key === "Escape" && !event.isComposing) {
    if (cancel()) tell("Cancelled. Ctrl+Enter asks again.");
  } else if (event.key === "/" && !typing && !event.ctrlKey && !event.metaKey && !event.altKey) {
    event.preventDefault();
    $("question").focus();
    $("question").select();
  }
});

for (const id of ["question", "instruction", "passages", "by-line", "whole", "sentences", "key"]) {
  $(id).addEventListener("input", (event) => event.isComposing || changed());
  $(id).addEventListener("compositionend", changed);
}
$("key").addEventListener("input", () => keep($("key").value.trim()));
$("by-line").addEventListener("input", describe);

function describe() {
  const how = $("by-line").checked ? "One a line." : "Separated by blank lines.";
  $("passages-hint").textContent = `${how} Drop a .txt or .jsonl file here.`;
}

const plural = (count, word) => `${count} ${word}${count === 1 ? "" : "s"}`;

function make(name, className, text = "") {
  const element = document.createElement(name);
  if (className) element.className = className;
  element.textContent = text;
  return element;
}

$("key").value = kept();
describe();
await look();
changed();
