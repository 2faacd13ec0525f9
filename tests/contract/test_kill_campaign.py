"""Ten kills of tests/contract/kill_campaign.py, which is run by hand for hundreds."""

from pathlib import Path

from clone import Clone
from kill_campaign import run


def test_ten_kills_need_no_hand(made: Clone, tmp_path: Path) -> None:
    campaign = run(made, tmp_path, kills=10, seed=3)
    assert campaign.notes == []
    assert campaign.kills == 10
