"""scripts/chat.py: what it says, what it remembers, what it refuses."""

import os
import pty
import runpy
import shutil
import subprocess
import sys

import pytest
from tiny_place import SCRIPTS, Place, environment
from transformers import AutoTokenizer

from heirloom.errors import HeirloomError, plain

TEMPLATE = (
    "{% for message in messages %}{{ message.role }}: {{ message.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant: {% endif %}"
)


def chat(place: Place, said: str, *options: str, model: str = "model", expect: int = 0) -> tuple[str, str]:
    """Return what the program prints, and its errors, when a user types these lines."""
    command = place.command("chat.py", place.folder / model, *options, ranks=1)
    done = subprocess.run(
        command, cwd=place.folder, env=environment(), input=said, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == expect, done.stdout + done.stderr
    return done.stdout, done.stderr


@pytest.fixture(scope="module")
def templated(place):
    """The tiny model with a chat template, in a folder of its own."""
    shutil.copytree(place.folder / "model", place.folder / "talker")
    tokenizer = AutoTokenizer.from_pretrained(place.folder / "talker")
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(place.folder / "talker")
    return "talker"


def test_it_answers_as_inference_does(place):
    config = place.config("to-chat", generation={"max_new_tokens": 12})
    place.run(*place.inference(config, "to-chat"))
    rows = place.generations("to-chat")[:2]
    said = "".join(f"{row['prompt']}\n" for row in rows)
    assert "\n" not in rows[0]["prompt"]
    printed, _ = chat(place, said + "/exit\n", "--max_new_tokens", "12")
    assert "/new begins anew" in printed
    for row in rows:
        assert f"> {plain(row['completion'])}\n" in printed


def test_it_remembers_until_it_is_told_to_forget(place, templated):
    short = ("--max_new_tokens", "6")
    question = "Ada found a kite.\n"
    alone, again, forgotten = answers(chat(place, question * 2 + "/new\n" + question, *short, model=templated)[0])
    assert alone == forgotten != again


def test_a_conversation_that_grows_too_long_goes_on_after_new(place, templated):
    printed, errors = chat(
        place, "Bo found a red boat.\n" * 14 + "/new\nBo?\n", "--max_new_tokens", "6", model=templated
    )
    assert "and the model has 128 positions: /new begins anew" in errors
    assert answers(printed)[-1]


def test_an_answer_ends_where_the_models_positions_do(place):
    printed, errors = chat(place, "Ada found a kite.\n", "--max_new_tokens", "4096")
    assert len(answers(printed)) == 1 and "error" not in errors


def test_what_cannot_be_asked_for(place):
    _, errors = chat(place, "", "--system", "Be brief.", expect=1)
    assert "--system needs a chat template, and the checkpoint's tokenizer has none" in errors
    _, errors = chat(place, "", model="nowhere", expect=1)
    assert "there is no such folder: train it, or `dvc pull` it" in errors


@pytest.fixture(scope="module")
def program():
    """The names of the script, without starting it."""
    return runpy.run_path(str(SCRIPTS / "chat.py"), run_name="chat")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--max_new_tokens", "0"], "--max_new_tokens: expected at least 1, found 0"),
        (["--temperature", "1", "--top_p", "2"], "--top_p: expected at most 1"),
        (["--temperature", "nan"], "--temperature: .*found nan"),
        (["--temperature", "-1"], "--temperature: expected more than 0"),
        (["--seed", "3"], "--seed: has no effect without --temperature; add that or delete it"),
        (["--temperature", "0", "--top_k", "5"], "--top_k: has no effect without --temperature"),
    ],
    ids=str,
)
def test_options_are_checked_as_the_configs_are(program, monkeypatch, options, message):
    monkeypatch.setattr(sys, "argv", ["chat.py", "model", *options])
    with pytest.raises(HeirloomError, match=message):
        program["how_to_answer"](program["parse_arguments"]())


def test_options_become_a_section(program, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["chat.py", "model", "--temperature", "0.7", "--top_k", "5"])
    section = program["how_to_answer"](program["parse_arguments"]())
    assert (section.do_sample, section.temperature, section.top_k, section.max_new_tokens) == (True, 0.7, 5, 256)


def test_ctrl_c_at_the_prompt_asks_anew_and_other_bytes_are_told(program, monkeypatch, capsys):
    typed = iter([KeyboardInterrupt(), "Caf\udce9", "Ada?"])

    def typing(prompt):
        text = next(typed)
        if isinstance(text, BaseException):
            raise text
        return text

    monkeypatch.setattr("builtins.input", typing)
    assert program["asked"]() == "Ada?"
    assert "what was typed is no UTF-8 text" in capsys.readouterr().err


def test_pasted_lines_are_one_text(program):
    code = f"import readline; readline.parse_and_bind({program['PASTED_WHOLE']!r}); print(repr(input('> ')))"
    child, terminal = pty.fork()
    if child == 0:
        os.execve(sys.executable, [sys.executable, "-c", code], {**os.environ, "TERM": "xterm"})
    with open(terminal, "r+b", buffering=0) as screen:
        shown = b""
        while b"> " not in shown:
            shown += screen.read(100)
        screen.write(b"\x1b[200~one\ntwo\x1b[201~\r")  # what a terminal sends for a paste, and the key Enter
        while b"two'" not in shown:
            shown += screen.read(100)
        assert os.waitpid(child, 0)[1] == 0 and rb"'one\ntwo'" in shown  # before the terminal hangs up


def answers(printed: str) -> list[str]:
    """Return what the model said, in order; a prompt that follows /new stands on the line of the one before."""
    _, *turns = printed.split("\n> ")
    return [answer for turn in turns if (answer := turn.removeprefix("> ").strip("\n"))]
