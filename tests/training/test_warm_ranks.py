"""Ranks that are to begin warm do: where they do not, the suite takes half as long again, and nothing else says so."""

from training_workplace import Workplace

RANK = """\
import sys

print("at its first line a rank has", *sorted({"torch", "transformers", "trl"} & sys.modules.keys()))
"""


def test_a_rank_of_the_launcher_has_its_libraries_as_it_begins(tmp_path):
    rank = tmp_path / "rank.py"
    rank.write_text(RANK)
    said = Workplace(tmp_path, warm=True).launch("torchrun", str(rank)).stdout
    assert said.count("at its first line a rank has torch transformers trl\n") == 2, said
