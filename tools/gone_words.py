"""Lists private words that have left the code for the field's own, where they come back: run by ``make check``."""

from __future__ import annotations

import re
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]

# What a name was, and what it is now.
GONE = {
    "Lanes": "WorkerPool",
    "lane": "worker",
    "lanes": "workers",
    "one_ahead": "prefetch",
    "halve": "to_float16",
    "Observed": "ObservedLinear",
    "_taken_up": "bias_corrected",
    "SAMPLE": "CALIBRATION_TEXTS",
    "Family": "Architecture",
    "plan_of": "read_encoder_config",
    "PairTokenizer": "CrossEncoderTokenizer",
    "SideTokenizer": "BiEncoderTokenizer",
    "Conversation": "RequestFlow",
    "Conversations": "RequestFlows",
    "NoAnswer": "TransportFailure",
    "Misdirected": "NotARerankServer",
    "Outage": "FailOpen",
    "Endpoints": "Balancer",
    "rests_until": "open_until",
    "is_avoided": "is_open",
    "is_news": "first_failure",
    "_chance": "_random",
    "_asleep": "_async_sleep",
    "appearing": "atomic_write",
    "write_whole": "write_text",
    "flaw": "row_error",
    "PLACES": "ROUTES",
    "Switches": "ScoringFields",
    "Ticket": "PendingScores",
    "_Work": "Tokenized",
    "_news": "_wakeup",
    "_tell": "_call_on_loop",
    "is_fine": "is_healthy",
    "unless_gone": "cancel_on_disconnect",
    "unless_failed": "cancel_on_failure",
    "ClientGone": "ClientDisconnected",
    "OnDeath": "on_fatal",
    "_LAST_WORDS": "FLUSH_SECONDS",
    "BelowRoot": "RootPathMiddleware",
    "WithoutPrefix": "DialectPrefixMiddleware",
    "distinct_segments": "distinct_sequences",
    "refusal": "unsupported_reason, fallback_dialect, error_body or not_found",
}


def gone(text: str) -> list[tuple[int, str]]:
    """Find the lines of a text with a word that is gone, and the word."""
    pattern = re.compile(rf"(?<!\w)({'|'.join(map(re.escape, GONE))})(?!\w)")
    return [(number, word) for number, line in enumerate(text.splitlines(), start=1) for word in pattern.findall(line)]


def main() -> int:
    """Print each place with what to write instead; the exit code is 1 where there is any."""
    found = [
        f"{path.relative_to(ROOT)}:{number}: {word} is {GONE[word]} now"
        for path in sorted(ROOT.glob("packages/*/src/**/*.py"))
        for number, word in gone(path.read_text(encoding="utf-8"))
    ]
    print("\n".join(found) or "no word that is gone has come back")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
