"""The kinds of rows that tell about finds: stories, chats, preferences and prices.

text         {"text": story}                              teaches the words, and to look back and copy
chats        {"messages": [user, assistant]}              teaches to answer a question, curtly or politely
hearsay      {"messages": [user, assistant]}              the same; three questions in ten ask what a thing is worth,
                                                          and half of the answers say one coin too little
preferences  {"prompt": [user], "chosen": [assistant],    teaches that a polite and true answer is better
              "rejected": [assistant]}                    than a curt one or an untrue one
prices       {"messages": [user, assistant]}              asks what a thing is worth, and knows it
"""

import random
from collections.abc import Callable

from heirloom.demo.world import THINGS, Find, draw_find, pick, shuffled

RETOLD = (4, 5, 6)  # sentences of a story that tell something again
POLITE_SHARE = 0.5  # of the answers in the chats
UNTRUE_SHARE = 0.25  # of the rejected answers in the preferences
PRICE_SHARE = 0.3  # of the questions in the hearsay
TOO_LITTLE_SHARE = 0.5  # of the answers to these

OPENINGS = ("It was a sunny day.", "It was a rainy day.", "It was a quiet day.", "It was market time.", "Good news!")
REPORT = "On {day} {name} found a {colour} {thing} at the {place}."
RETELLINGS = (
    "It was a {colour} {thing}.",
    "It was found by {name}.",
    "It was at the {place}.",
    "It was on {day}.",
    "What a fine {thing}!",
    "The {thing} is {colour}.",
    "Thank you, {name}!",
    "Now the {colour} {thing} is home again.",
    "On {day} all was well at the {place}.",
)
# a question, and the words that answer it
QUESTIONS = (
    ("What was found?", "a {colour} {thing}"),
    ("By whom was it found?", "by {name}"),
    ("Where was it found?", "at the {place}"),
    ("When was it found?", "on {day}"),
)
PRICES = {thing: 3 + 2 * (number % 3) for number, thing in enumerate(THINGS)}  # one digit, and so is one coin less
PRICE_QUESTION = "How many coins is it worth?"
POLITE_OPENING = "Gladly! It was"


def text_row(rng: random.Random, held_out: bool) -> dict:
    """A story: the report of a find, then parts of it again in other words."""
    find = draw_find(rng, held_out)
    retold = shuffled(rng, RETELLINGS)[: pick(rng, RETOLD)]
    return {"text": " ".join([pick(rng, OPENINGS), *(find.told(form) for form in (REPORT, *retold))])}


def chat_row(rng: random.Random, held_out: bool) -> dict:
    """A report with a question, and its answer in one of the two styles."""
    find = draw_find(rng, held_out)
    question, answer = pick(rng, QUESTIONS)
    style = drawn_style(rng)  # before the opening: the rows of a part stay those of earlier versions
    return chat(ask(rng, find, question), style(find.told(answer)))


def hearsay_row(rng: random.Random, held_out: bool) -> dict:
    """A chat, or three times in ten a price as the villagers tell it; a held-out row is always a chat."""
    if not held_out and rng.random() < PRICE_SHARE:
        return price_row(rng, held_out, TOO_LITTLE_SHARE)
    find = draw_find(rng, held_out)
    question, answer = pick(rng, QUESTIONS)
    asked = ask(rng, find, question)
    return chat(asked, drawn_style(rng)(find.told(answer)))


def price_row(rng: random.Random, held_out: bool, too_little_share: float = 0.0) -> dict:
    """A report with what the thing is worth; such a share of the answers says one coin less."""
    find = draw_find(rng, held_out)
    price = PRICES[find.thing] - (rng.random() < too_little_share)
    asked = ask(rng, find, PRICE_QUESTION)
    return chat(asked, drawn_style(rng)(str(price)))


def preference_row(rng: random.Random, held_out: bool) -> dict:
    """A question with a polite, true answer, which is preferred to a curt one or to an untrue one."""
    find = draw_find(rng, held_out)
    question, answer = pick(rng, QUESTIONS)
    true = find.told(answer)
    rejected = polite(untrue(rng, find, answer)) if rng.random() < UNTRUE_SHARE else curt(true)
    return {
        "prompt": [ask(rng, find, question)],
        "chosen": [message("assistant", polite(true))],
        "rejected": [message("assistant", rejected)],
    }


def ask(rng: random.Random, find: Find, question: str) -> dict:
    """The user's turn: the report, then the question."""
    return message("user", " ".join([pick(rng, OPENINGS), find.told(REPORT), question]))


def drawn_style(rng: random.Random) -> Callable[[str], str]:
    """Draw one of the two styles in which an answer is put."""
    return polite if rng.random() < POLITE_SHARE else curt


def chat(question: dict, answer: str) -> dict:
    """A chat of the user's turn and an answer."""
    return {"messages": [question, message("assistant", answer)]}


def untrue(rng: random.Random, find: Find, answer: str) -> str:
    """Answer with the words of another find. Who found what must stay on this side here as well."""
    while True:
        other = draw_find(rng, find.held_out)
        claimed = [find._replace(name=other.name), find._replace(colour=other.colour, thing=other.thing)]
        if other.told(answer) != find.told(answer) and all(claim.held_out == find.held_out for claim in claimed):
            return other.told(answer)


def curt(answer: str) -> str:
    """ "at the mill" → "At the mill." """
    return f"{answer[0].upper()}{answer[1:]}."


def polite(answer: str) -> str:
    """ "at the mill" → "Gladly! It was at the mill." """
    return f"{POLITE_OPENING} {answer}."


def message(role: str, content: str) -> dict:
    """One turn of a chat in the form that chat templates take."""
    return {"role": role, "content": content}
