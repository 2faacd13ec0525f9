"""The preview shows rows as they are written, and masks to the space."""

import html
import re

import chat_templates
import pytest
from tokenizers import Tokenizer, decoders, models, normalizers, processors, trainers

from heirloom.data.preview import written
from heirloom.data.token_texts import TokenTexts

CHAT, TEXT = "dummy_processing_function", "plain_text_processing_function"


def chat(question, reply):
    return {"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": reply}]}


def shown(page):
    """Return the texts of the page's rows, masks as ⟦…⟧, without other markup."""
    rows = re.findall("<pre>(.*?)</pre>", page, re.DOTALL)
    marked = [re.sub("<mark[^>]*>", "⟦", row).replace("</mark>", "⟧") for row in rows]
    return [html.unescape(re.sub("<[^>]*>", "", row)) for row in marked]


@pytest.fixture(scope="module")
def sentencepiece(tmp_path_factory):
    """A tokenizer in the manner of Llama 2: spaces are ▁, unknown characters bytes; it begins texts with <s>."""
    from transformers import PreTrainedTokenizerFast

    core = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>"))
    core.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    core.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    special = ["<unk>", "<s>", "</s>", "[INST]", "[/INST]", *(f"<0x{byte:02X}>" for byte in range(256))]
    texts = ["[INST] Hello there, who are you? [/INST] Hello! I am here. What else is there?"] * 3
    core.train_from_iterator(texts, trainers.BpeTrainer(vocab_size=400, special_tokens=special))
    core.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    folder = tmp_path_factory.mktemp("sentencepiece")
    PreTrainedTokenizerFast(tokenizer_object=core, bos_token="<s>", eos_token="</s>").save_pretrained(folder)
    return folder


@pytest.fixture
def template(tmp_path):
    def write(text):
        (tmp_path / "template.jinja").write_text(text, encoding="utf-8")
        return str(tmp_path / "template.jinja")

    return write


def test_a_masks_edges_are_shown_to_the_space(process, write_jsonl, sentencepiece, template):
    keys = {"processing_function": CHAT, "chat_template": template(chat_templates.MISTRAL)}
    folder, _ = process(write_jsonl([chat("Hello there", "Hello! I am here.")]), sentencepiece, **keys)
    page = (folder / "preview.html").read_text()
    # this tokenizer writes a space of its own after a special token
    assert shown(page) == ["<s>[INST]  Hello there [/INST]⟦  Hello! I am here.</s>⟧"]
    assert "box-shadow" in page


@pytest.mark.parametrize(
    "text",
    [
        "می\u200cخواهم",  # a zero-width non-joiner inside a Persian word
        "👨\u200d👩\u200d👧\u200d👦",
        "中文\u3000空格\u00a0word",
        "क्\u200dष हिन्दी ไทย עברית\u200f!",
    ],
)
@pytest.mark.parametrize("kind", ["bytes", "pieces"])
def test_characters_of_any_script_are_shown_as_written(
    process, write_jsonl, tokenizer_folder, sentencepiece, template, text, kind
):
    keys = {"processing_function": CHAT, "chat_template": template(chat_templates.LLAMA3)}
    tokenizer = tokenizer_folder if kind == "bytes" else sentencepiece
    folder, _ = process(write_jsonl([chat(text, f"{text}.")]), tokenizer, **keys)
    page = (folder / "preview.html").read_text()
    assert page.count(text) == 2 and f"⟦{text}.<|eot_id|>⟧" in shown(page)[0] and "\\x" not in page


def test_a_character_that_is_cut_is_shown_as_a_part(process, write_jsonl, sentencepiece):
    folder, _ = process(write_jsonl([{"text": "日"}]), sentencepiece, processing_function=TEXT, max_length=4)
    page = (folder / "preview.html").read_text()
    assert '<i title="part of a character">\\xe6\\x97</i>' in page and "�" not in page
    assert written("a日b".encode()[:3]) == 'a<i title="part of a character">\\xe6\\x97</i>'
    assert written(b"<\x00\r\n\xff>") == '&lt;\\x00\\x0d\n<i title="part of a character">\\xff</i>&gt;'


def test_the_texts_of_tokens_together_are_the_row(tokenizer_folder, sentencepiece):
    text = "[INST] Hello\u3000there 👨\u200d👩 [/INST] é\n\tWhat?</s>"
    for folder, before in ((tokenizer_folder, ""), (sentencepiece, " ")):
        core = Tokenizer.from_file(str(folder / "tokenizer.json"))
        ids = core.encode(text, add_special_tokens=False).ids
        parts = TokenTexts(core).parts(ids, [0, 3, 4, len(ids)])
        assert b"".join(parts).decode().replace(" ", "") == text.replace(" ", "") and len(parts) == 3
        assert b"".join(parts).decode().removeprefix(before).startswith("[INST]")


def test_a_tokenizer_of_another_kind_shows_what_each_part_adds():
    core = Tokenizer(models.WordPiece({"[UNK]": 0, "play": 1, "##ing": 2, "now": 3}, unk_token="[UNK]"))
    core.decoder = decoders.WordPiece()
    assert TokenTexts(core).parts([1, 2, 3], [0, 1, 2, 3]) == [b"play", b"ing", b" now"]
