"""The three kinds of rows that tell about scenes of the tiny world: stories, chats and preferences.

text         {"text": story}                              teaches the words, and to look things up and copy them
chats        {"messages": [user, assistant]}              teaches to answer a question, curtly or politely
preferences  {"prompt": [user], "chosen": [assistant],    teaches that a polite and true answer is better
              "rejected": [assistant]}                    than a curt one or an untrue one
"""

import random

from heirloom.demo.world import Fact, draw_scene, pick, shuffled

SCENE_SIZES = (3, 4)  # facts in a scene
LOOK_UPS = (4, 5, 6)  # sentences of a story that tell a fact again
POLITE_SHARE = 0.5  # of the answers in the chats
UNTRUE_SHARE = 0.25  # of the rejected answers in the preferences

OPENINGS = (
    "It is a sunny day.",
    "It is a rainy day.",
    "It is market day.",
    "The village is awake.",
    "All is quiet at night.",
)
RETELLINGS = (
    "{name} has a {belonging}.",
    "{name} plays with the {belonging}.",
    "{name} loves the {belonging}.",
    "{name} dreams of the {belonging}.",
    "The {belonging} belongs to {name}.",
)
QUESTION = "What does {name} have?"
CURT = "A {belonging}."
POLITE = "Gladly! {name} has a {belonging}."


def text_row(rng: random.Random, held_out: bool) -> dict:
    """A story: the facts of a scene, then some of them again in other words."""
    scene = draw_scene(rng, pick(rng, SCENE_SIZES), held_out)
    facts = [fact.sentence for fact in scene]
    retold = [told(pick(rng, RETELLINGS), pick(rng, scene)) for _ in range(pick(rng, LOOK_UPS))]
    return {"text": " ".join([pick(rng, OPENINGS), *facts, *retold])}


def chat_row(rng: random.Random, held_out: bool) -> dict:
    """A question about one fact of a scene, and its answer in one of the two styles."""
    question, asked, _ = ask(rng, held_out)
    style = POLITE if rng.random() < POLITE_SHARE else CURT
    return {"messages": [message("user", question), message("assistant", told(style, asked))]}


def preference_row(rng: random.Random, held_out: bool) -> dict:
    """A question with a polite, true answer that is preferred to a curt or to an untrue one."""
    question, asked, others = ask(rng, held_out)
    # an untrue answer tells a fact as well: not one of the other side
    told_wrong = [asked._replace(colour=other.colour, thing=other.thing) for other in others]
    untrue = [fact for fact in told_wrong if fact.held_out == held_out]
    rejected = told(POLITE, pick(rng, untrue)) if untrue and rng.random() < UNTRUE_SHARE else told(CURT, asked)
    return {
        "prompt": [message("user", question)],
        "chosen": [message("assistant", told(POLITE, asked))],
        "rejected": [message("assistant", rejected)],
    }


def ask(rng: random.Random, held_out: bool) -> tuple[str, Fact, list[Fact]]:
    """Draw a scene and a question about it; return the user's message, the fact asked for and the other facts."""
    scene = draw_scene(rng, pick(rng, SCENE_SIZES), held_out)
    asked, *others = shuffled(rng, scene)
    question = " ".join([*(fact.sentence for fact in scene), told(QUESTION, asked)])
    return question, asked, others


def told(form: str, fact: Fact) -> str:
    """Put a fact into a sentence form."""
    return form.format(name=fact.name, belonging=fact.belonging)


def message(role: str, content: str) -> dict:
    """One turn of a chat in the form that chat templates take."""
    return {"role": role, "content": content}
