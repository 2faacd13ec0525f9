"""Read chat templates: Jinja, with the extensions that transformers compiles them with."""

from pathlib import Path

from jinja2 import Environment, TemplateError, nodes
from jinja2.ext import Extension
from jinja2.parser import Parser

from heirloom.errors import HeirloomError


class GenerationBlocks(Extension):
    """`{% generation %} … {% endgeneration %}`, which marks what the model writes."""

    tags = {"generation"}

    def parse(self, parser: Parser) -> list[nodes.Node]:
        """Return what stands in the block."""
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def read_template(file: Path, root: Path = Path()) -> str:
    """Return the text of a chat template's file below `root`, which is compiled here and never rendered.

    Raises HeirloomError, which names the file and the line, for what is no file, no text or no template.
    """
    if not (root / file).is_file():
        raise HeirloomError(f"{file} is no file; name a Jinja template's")
    try:
        text = (root / file).read_bytes().decode()
        Environment(extensions=["jinja2.ext.loopcontrols", GenerationBlocks], autoescape=True).compile(text, raw=True)
    except UnicodeDecodeError:
        raise HeirloomError(f"{file} is not UTF-8 text; name a Jinja template, or save it with that encoding") from None
    except OSError as error:
        raise HeirloomError(f"{file} cannot be read ({error.strerror}); mend or remove it") from None
    except (TemplateError, RecursionError) as error:
        line = getattr(error, "lineno", None)
        raise HeirloomError(f"{file}{f':{line}' if line else ''} is not valid Jinja: {error}; mend it") from None
    return text
