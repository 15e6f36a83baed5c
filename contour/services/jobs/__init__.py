"""Work that survives: series to be drawn, kept in a database, drawn once each, resumed after any interruption.

`plan` says with what, `queue` takes and tells, `worker` draws, `crew` keeps workers alive.
"""
