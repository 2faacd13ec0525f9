"""A page of real rows with their masks in colour: what to look at before paying for a training run.

One HTML file without scripts or outside resources; readable in light and dark, on a wide and on a narrow screen.
"""

import html
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from heirloom.config.sections.row_kinds import IGNORED
from heirloom.data.rows.tokenization import Tokenizer
from heirloom.data.token_texts import TokenTexts
from heirloom.errors import plain

ROWS_A_SPLIT = 5
TOKENS_A_TEXT = 1200  # of a longer one the beginning is shown
DROPPED_ROWS = 20

STYLE = """
:root { color-scheme: light dark; --trained: #b7e4c0; --chosen: #b7e4c0; --rejected: #f6c6c0; --quiet: #666; }
@media (prefers-color-scheme: dark) {
  :root { --trained: #14532d; --chosen: #14532d; --rejected: #6b1f1a; --quiet: #aaa; }
}
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 0 auto; padding: 1rem; }
h1 { font-size: 1.4rem; } h2 { font-size: 1.15rem; margin-top: 2rem; } h3 { font-size: 1rem; margin: 1.5rem 0 .3rem; }
pre { white-space: pre-wrap; overflow-wrap: anywhere; font: 14px/1.6 ui-monospace, monospace; margin: 0 0 .5rem;
      padding: .7rem; border: 1px solid color-mix(in srgb, currentColor 25%, transparent); border-radius: .4rem; }
mark { color: inherit; padding: .1em 0; background: var(--trained); }
/* where a mask begins and ends, to the space */
mark { box-shadow: -1px 0 currentColor, 1px 0 currentColor; }
mark.chosen { background: var(--chosen); } mark.rejected { background: var(--rejected); }
small, i { color: var(--quiet); } i { font-style: normal; }
table { border-collapse: collapse; } td, th { padding: .15rem .8rem .15rem 0; text-align: left; vertical-align: top; }
"""


class Preview:
    """Collects the first rows of each split and the first dropped ones, and writes the page."""

    def __init__(self, title: str, tokenizer: Tokenizer, kind: str):
        self.title, self.kind = title, kind
        self.texts = TokenTexts(tokenizer.backend)
        self.rows: dict[str, list[str]] = {}
        self.dropped: list[tuple[str, str]] = []

    def keep(self, split: str, row_id: str, columns: dict[str, Any]) -> None:
        """Show a finished row if it is among the first of its split."""
        shown = self.rows.setdefault(split, [])
        if len(shown) < ROWS_A_SPLIT:
            shown.append("\n".join(self.row(row_id, columns)))

    def drop(self, row_id: str, reason: str) -> None:
        """Show a row that was left out if it is among the first."""
        if len(self.dropped) < DROPPED_ROWS:
            self.dropped.append((row_id, reason))

    def row(self, row_id: str, columns: dict[str, Any]) -> Iterator[str]:
        """Yield the HTML of one row."""
        if self.kind == "seq2seq":
            for name, column in (("source", "input_ids"), ("target", "labels")):
                ids = columns[column]
                yield f"<h3>{escaped(row_id)}: {name} <small>{len(ids)} tokens</small></h3>"
                labels = ids if name == "target" else [IGNORED] * len(ids)
                yield f"<pre>{self.coloured(ids, labels, 'trained')}</pre>"
            return
        if self.kind in ("preference", "labelled"):
            prompt = columns["prompt_ids"]
            judged = "chosen" if columns.get("label") else "rejected"
            answers = {name: f"{name}_ids" for name in ("chosen", "rejected")}
            for name, column in answers.items() if self.kind == "preference" else [(judged, "completion_ids")]:
                answer = list(columns[column])
                yield f"<h3>{escaped(row_id)}: {name} <small>{len(prompt)} + {len(answer)} tokens</small></h3>"
                labels = [IGNORED] * len(prompt) + answer
                yield f"<pre>{self.coloured(prompt + answer, labels, name)}</pre>"
            return
        ids = columns["input_ids"]
        labels = columns.get("labels", ids)
        trained = int((np.asarray(labels) != IGNORED).sum())
        yield f"<h3>{escaped(row_id)} <small>{len(ids)} tokens, {trained} trained on</small></h3>"
        yield f"<pre>{self.coloured(ids, labels, 'trained')}</pre>"

    def coloured(self, ids: Sequence[int], labels: Sequence[int], name: str) -> str:
        """Return the text of token ids with the trained parts marked."""
        shown = min(len(ids), TOKENS_A_TEXT)
        trained = [label != IGNORED for label in labels[:shown]]
        edges = [at for at in range(shown + 1) if at in (0, shown) or trained[at] != trained[at - 1]]
        parts = []
        for start, part in zip(edges, self.texts.parts(list(map(int, ids[:shown])), edges), strict=False):
            text = written(part).replace("\n", "<i>↵</i>\n")
            parts.append(f'<mark class="{name}">{text}</mark>' if trained[start] else text)
        if len(ids) > shown:
            parts.append(f"<small> … and {len(ids) - shown} tokens more</small>")
        return "".join(parts)

    def page(self, statistics: dict[str, dict[str, Any]]) -> str:
        """Return the whole page; `statistics` of each split go on top."""
        body = [f"<h1>{escaped(self.title)}</h1>", "<p><mark>Coloured</mark> tokens are trained on, spaces too.</p>"]
        names = [name for name, value in statistics["train"].items() if not isinstance(value, dict)]
        body.append("<table><tr><th></th>" + "".join(f"<th>{split}</th>" for split in statistics) + "</tr>")
        for name in names:
            cells = "".join(f"<td>{counts[name]:,}</td>" for counts in statistics.values())
            body.append(f"<tr><td>{name.replace('_', ' ')}</td>{cells}</tr>")
        body.append("</table>")
        for split, rows in self.rows.items():
            body += [f"<h2>First rows of {split}</h2>", *rows]
        if self.dropped:
            body.append("<h2>First rows left out</h2><table>")
            body += [f"<tr><td>{escaped(row)}</td><td>{escaped(why)}</td></tr>" for row, why in self.dropped]
            body.append("</table>")
        head = '<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
        title = f"<title>{escaped(self.title)}</title>"
        return f'<!doctype html>\n<html lang="en"><head>{head}{title}<style>{STYLE}</style></head>\n<body>\n' + (
            "\n".join(body) + "\n</body></html>\n"
        )


def written(part: bytes) -> str:
    """Return a part of a row as HTML; bytes that are no whole character, where it is cut, are shown by their code."""
    text, at = [], 0
    while at < len(part):
        try:
            text.append(escaped(part[at:].decode()))
            break
        except UnicodeDecodeError as error:
            text.append(escaped(part[at : at + error.start].decode()))
            cut = "".join(f"\\x{byte:02x}" for byte in part[at + error.start : at + error.end])
            text.append(f'<i title="part of a character">{cut}</i>')
            at += error.end
    return "".join(text)


def escaped(text: str) -> str:
    """Return text as HTML, as it is written in any script; control characters are shown by their code."""
    return html.escape(plain(text))
