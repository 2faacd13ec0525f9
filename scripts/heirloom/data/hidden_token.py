"""A hub token on the command line, which every user of the machine can read, goes to the environment at once.

Imported before everything else by the programs that may get one, so it imports next to nothing itself.
"""

import os
import sys

TOKEN_FLAG, TOKEN_VARIABLE = "--hf-token", "HF_TOKEN"


def hide_token() -> None:
    """Start this program again without a token that stands in its command line.

    The token goes on in the environment, which only this user's processes can read.
    """
    kept, token, at = [], None, 1
    while at < len(sys.argv):
        flag, equals, value = sys.argv[at].partition("=")
        if flag == TOKEN_FLAG:
            at += not equals
            token = value if equals else sys.argv[at] if at < len(sys.argv) else ""
        else:
            kept.append(sys.argv[at])
        at += 1
    if token is None:
        return
    if token.strip():
        os.environ[TOKEN_VARIABLE] = token.strip()
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, sys.argv[0], *kept])
