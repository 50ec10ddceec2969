"""One-shot runs: start what is missing, replay, wait until all is closed, export, stop it again.

Read in this order: `session` (the whole run), `supervisor` (worker processes; `attended` and
`farewell` are about their ends), `drain` (when is all closed), `reader` (read a topic plainly),
`export` (bars to a file), `outcomes` (the summary), `environment` (settings for another process),
`kinds` (trades or quotes, and whose agent).
"""
