"""The findings on a terminal, in a log and as JSON."""

from heirloom.doctor.finding import Finding, Level
from heirloom.errors import plain, plain_json

SIGNS = {Level.OK: "✓", Level.SKIPPED: "-", Level.NOTE: "·", Level.WARNING: "!", Level.ERROR: "✗"}
MACHINE = ("machine", "memory", "GPUs")
"""Subjects that say what the machine is."""


def summary(findings: list[Finding]) -> str:
    """Return the last line: how many errors and warnings there are."""
    errors, warnings = (sum(finding.level is level for finding in findings) for level in (Level.ERROR, Level.WARNING))
    if not errors and not warnings:
        return "nothing stands in the way"
    counted = ((errors, "error"), (warnings, "warning"))
    return ", ".join(f"{count} {word}{'s' if count > 1 else ''}" for count, word in counted if count)


def print_findings(findings: list[Finding]) -> None:
    """Print a line a finding, and below it what it means and what to do. Also for a Python without any package."""
    width = max(len(finding.subject) for finding in findings)
    for finding in findings:
        print(plain(f"{SIGNS[finding.level]} {finding.subject:<{width}}  {finding.found}"))
        for label, text in (("means", finding.meaning), ("do", finding.remedy)):
            if text:
                print(plain(f"  {'':<{width}}  {label}: {text}"))
    print(summary(findings))


def print_brief(findings: list[Finding]) -> None:
    """Print what the machine is and one line a finding that is not in order, for the head of a job's log."""
    for finding in findings:
        if finding.level is Level.OK and finding.subject in MACHINE:
            print(plain(f"doctor: {finding.subject}: {finding.found}"))
        elif finding.level not in (Level.OK, Level.SKIPPED):
            remedy = f" → {finding.remedy}" if finding.remedy else ""
            print(plain(f"doctor: {finding.level}: {finding.subject}: {finding.found}; {finding.meaning}{remedy}"))
    print(f"doctor: {summary(findings)}", flush=True)


def print_json(findings: list[Finding]) -> None:
    """Print everything as one JSON object: `healthy` and the `findings`."""
    rows = [
        {
            "subject": finding.subject,
            "level": finding.level,
            "found": finding.found,
            "meaning": finding.meaning,
            "remedy": finding.remedy,
        }
        for finding in findings
    ]
    healthy = all(finding.level is not Level.ERROR for finding in findings)
    print(plain_json({"healthy": healthy, "findings": rows}))
