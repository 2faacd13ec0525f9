"""The lineage of runs as a drawing: base models on top, each run below the run or model that it starts from."""

from collections.abc import Collection
from typing import Any

from heirloom.report.run_config import Config

BOX_WIDTH, BOX_HEIGHT = 172, 62  # pixels, as all lengths here
GAP_ACROSS, GAP_DOWN = 18, 30
LONGEST_LABEL = 22
"""Characters that fit into a box."""


def lineage(configs: dict[str, Config], linked: Collection[str] = ()) -> dict[str, Any]:
    """Place every run and base model on a grid: a row a generation, a column a leaf.

    Returns {"width", "height", "box": [width, height], "nodes": [{"name", "lines", "x", "y", "href"}],
    "edges": [[x, y, x, y]]}, edges from the lower edge of a base to the upper edge of what starts from it.
    Runs in `linked` have a page of their own beside this one.
    """
    children: dict[str, list[str]] = {}
    for name, config in configs.items():
        children.setdefault(config["base"], []).append(name)
    places: dict[str, tuple[float, int]] = {}
    columns = 0

    def place(name: str, row: int) -> float:
        nonlocal columns
        below = [place(child, row + 1) for child in children.get(name, ())]
        if below:
            column = (below[0] + below[-1]) / 2
        else:
            column, columns = float(columns), columns + 1
        places[name] = (column, row)
        return column

    for root in sorted(base for base in children if base not in configs):
        place(root, 0)
    corners = {
        name: (column * (BOX_WIDTH + GAP_ACROSS) + 1, row * (BOX_HEIGHT + GAP_DOWN) + 1)
        for name, (column, row) in places.items()
    }
    nodes = [
        {
            "name": name,
            "lines": [shortened(line) for line in box_lines(name, configs.get(name))],
            "x": x,
            "y": y,
            "href": f"{name}.html" if name in linked else None,
        }
        for name, (x, y) in corners.items()
    ]
    edges = [
        [corners[base][0] + BOX_WIDTH / 2, corners[base][1] + BOX_HEIGHT, corners[name][0] + BOX_WIDTH / 2, y]
        for name, (_, y) in corners.items()
        if name in configs and (base := configs[name]["base"]) in corners
    ]
    return {
        "width": max((x for x, _ in corners.values()), default=0) + BOX_WIDTH + 1,
        "height": max((y for _, y in corners.values()), default=0) + BOX_HEIGHT + 1,
        "box": [BOX_WIDTH, BOX_HEIGHT],
        "nodes": nodes,
        "edges": edges,
    }


def box_lines(name: str, config: Config | None) -> list[str]:
    """Return what stands in a box: the name, how it is made, from what data."""
    if config is None:
        return [name, "base model"]
    if config.get("trainer") is None:
        return [name, "not trained"]
    return [name, str(config["trainer"]), f"on {config.get('dataset')}"]


def shortened(text: str) -> str:
    return text if len(text) <= LONGEST_LABEL else f"{text[: LONGEST_LABEL - 1]}…"
