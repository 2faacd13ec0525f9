"""`dvc status`, then `dvc repro --dry`, in one process: to load the repository takes longer than either."""

import sys

BETWEEN = "---- dvc repro --dry ----"

if __name__ == "__main__":
    from dvc.cli import main

    code = main(["status"])
    print(BETWEEN, flush=True)
    sys.exit(main(["repro", "--dry"]) or code)
