"""axe-core in a page: it tells the console of each violation, by its rule and the elements."""

from pathlib import Path

FOLDER = Path(__file__).parent / "report" / "axe"
"""The library as npm has it, with its hash."""
EXAMINED = 'data-examined="yes"'
"""In the document once axe-core has looked at all of it."""
RUN = """
axe.run(document).then(({ violations }) => {
  for (const found of violations) console.error(found.id + ": " + found.nodes.map((node) => node.target).join(" "));
  document.body.dataset.examined = "yes";
});
"""


def examination(when: str = "") -> str:
    """Return JavaScript that examines the page it stands in: at once, or as soon as the expression `when` is true."""
    library = (FOLDER / "axe.min.js").read_text(encoding="utf-8").replace("</script", "<\\/script")
    waits = f"const ready = () => {{ if ({when}) {{ {RUN} }} else setTimeout(ready, 50); }}; ready();"
    return library + (waits if when else RUN)
