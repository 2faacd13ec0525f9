"""Write what is generated from the models of the configuration, or check that it is up to date.

    python workflow/schemas/generate.py                        # schemas of datasets, models, runs; tables of documents
    python workflow/schemas/generate.py --libraries            # also the argument schemas of transformers and TRL
    python workflow/schemas/generate.py --harness              # also the table of the lm-evaluation-harness's tasks
    python workflow/schemas/generate.py --check [--libraries]  # write nothing; exit 1 and show the difference

`--libraries` needs the training environment and is wanted when its versions change, `--harness` the harness; the rest
needs pydantic only.
"""

import argparse
import difflib
import sys
from collections.abc import Iterator
from pathlib import Path

SCHEMAS = Path(__file__).resolve().parent
ROOT = SCHEMAS.parents[1]
sys.path[:0] = [str(ROOT / "scripts"), str(SCHEMAS)]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="compare instead of writing")
    parser.add_argument("--libraries", action="store_true", help="also the schemas of the pinned transformers and TRL")
    parser.add_argument("--harness", action="store_true", help="also the table of the pinned harness's tasks")
    args = parser.parse_args()
    stale = 0
    if args.libraries:  # first: the run schema is made from these
        stale += bring_up_to_date(library_files(), args.check)
    if args.harness:
        from from_harness import harness_tables

        stale += bring_up_to_date(((SCHEMAS / name, text) for name, text in harness_tables()), args.check)
    stale += bring_up_to_date(model_files(), args.check)
    if args.check and stale:
        print(f"{stale} generated files are out of date: run python {Path(__file__).relative_to(ROOT)}")
    return int(args.check and stale > 0)


def library_files() -> Iterator[tuple[Path, str]]:
    """Yield path and text of each file that describes a library's argument class."""
    from from_libraries import library_schemas

    for name, text in library_schemas():
        yield SCHEMAS / name, text


def model_files() -> Iterator[tuple[Path, str]]:
    """Yield path and text of each file that follows from the models of the configuration."""
    from from_models import model_schemas, with_tables
    from from_trainers import DOCUMENTS, RULE, with_programs, with_trainers
    from support_matrix import with_matrices

    for name, text in model_schemas():
        yield SCHEMAS / name, text
    readme = ROOT / "config" / "README.md"
    yield readme, with_tables(readme.read_text(encoding="utf-8"))
    for name in DOCUMENTS:
        yield ROOT / name, with_matrices(with_trainers((ROOT / name).read_text(encoding="utf-8")))
    yield ROOT / RULE, with_programs((ROOT / RULE).read_text(encoding="utf-8"))


def bring_up_to_date(files: Iterator[tuple[Path, str]], only_check: bool) -> int:
    """Write files whose text differs, or show how it differs; return how many there were."""
    stale = 0
    for path, text in files:
        present = path.read_text(encoding="utf-8") if path.exists() else ""
        if text == present:
            continue
        stale += 1
        name = str(path.relative_to(ROOT))
        if only_check:
            sys.stdout.writelines(difflib.unified_diff(lines(present), lines(text), name, f"{name} (generated)", n=1))
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
            print(f"wrote {name}")
    return stale


def lines(text: str) -> list[str]:
    return text.splitlines(keepends=True)


if __name__ == "__main__":
    sys.exit(main())
