// Texts: from what was pasted or dropped to passages, and the part of a passage that a row shows. Pure.

/** The passages of a text, trimmed: one a line, or separated by blank lines. */
export function passagesOf(text, byLine) {
  const parts = text.replaceAll(/\r\n?/g, "\n").split(byLine ? "\n" : /\n[^\S\n]*(?:\n[^\S\n]*)+/);
  return parts.map((part) => part.trim()).filter(Boolean);
}

/** What a file holds, as it goes into the field of passages. Throws an Error that says which line is wrong. */
export function fieldOf(name, content) {
  const text = content.replace(/^\uFEFF/, "");
  if (!name.toLowerCase().endsWith(".jsonl")) return { text, byLine: null };
  const texts = [];
  for (const [index, line] of text.split("\n").entries()) {
    if (line.trim()) texts.push(textOf(line, index + 1));
  }
  // A blank line inside a passage would end it.
  return { text: texts.map((one) => one.trim().replaceAll(/\n\s*\n/g, "\n")).join("\n\n"), byLine: false };
}

function textOf(line, number) {
  let found;
  try {
    found = JSON.parse(line);
  } catch {
    throw new Error(`line ${number} is not JSON`);
  }
  const text = typeof found === "string" ? found : found?.text;
  if (typeof text !== "string") throw new Error(`line ${number} has no "text"`);
  return text;
}

/** A span of the server's, in code points, as JavaScript's own offsets. */
export function utf16Span(text, span) {
  const points = Array.from(text);
  const length = (count) => points.slice(0, count).join("").length;
  return { start: length(span.start), end: length(span.end) };
}

const FEW = 3; // languages that a note has room for

/** A note on a model that is for a few languages only; empty where that is not known, or they are many. */
export function languageNote(codes) {
  if (!codes?.length || codes.length > FEW || codes.includes("multilingual")) return "";
  const languages = new Intl.ListFormat("en").format(codes.map(languageName));
  return `This model reads ${languages} only: scores of texts in another language mean little.`;
}

function languageName(code) {
  try {
    return new Intl.DisplayNames(["en"], { type: "language" }).of(code);
  } catch {
    return code; // no code of a language
  }
}

const SHOWN = 360; // characters of a long passage
const BEFORE = 60; // of them before the span that won

/**
 * A passage as pieces {text, marked}, the span that won marked. `whole`: all of it; otherwise so much as a row has room
 * for, from shortly before the span.
 */
export function piecesOf(text, span, whole) {
  let from = 0;
  let to = text.length;
  if (!whole && isLong(text)) {
    from = span && span.start > BEFORE ? wordAt(text, span.start - BEFORE) : 0;
    to = Math.max(wordAt(text, from + SHOWN), from + 1);
  }
  const clip = (offset) => Math.min(Math.max(offset, from), to);
  const { start, end } = span ? { start: clip(span.start), end: clip(span.end) } : { start: to, end: to };
  const pieces = [
    { text: (from > 0 ? "…\u00A0" : "") + text.slice(from, start), marked: false },
    { text: text.slice(start, end), marked: true },
    { text: text.slice(end, to) + (to < text.length ? "\u00A0…" : ""), marked: false },
  ];
  return pieces.filter((piece) => piece.text);
}

/** Whether a passage is longer than a row shows at first. */
export const isLong = (text) => text.length > SHOWN * 1.2;

/** The start of the word at an offset; never between the halves of a character. */
function wordAt(text, offset) {
  if (offset >= text.length) return text.length;
  const space = text.lastIndexOf(" ", offset);
  if (space > offset - 30) return space + 1;
  return /[\uDC00-\uDFFF]/.test(text[offset]) ? offset - 1 : offset;
}
