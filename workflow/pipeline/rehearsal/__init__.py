"""Every stage of a run as it will be executed, in a throw-away folder, on two layers, few rows and CPU ranks."""

from pipeline.rehearsal.preparation import NEVER, prepare
from pipeline.rehearsal.record import advice, note_rehearsed, unrehearsed
from pipeline.rehearsal.rehearsal import rehearse
from pipeline.rehearsal.throw_away_clone import place_of

__all__ = ["NEVER", "advice", "note_rehearsed", "place_of", "prepare", "rehearse", "unrehearsed"]
