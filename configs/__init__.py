"""Everything an operator may change: settings, profiles, sources, offer catalogues, segments and languages.

Input: TOML files and a few environment variables. Output: validated, frozen models; an unknown key is an error. Start
reading at `settings`.
"""
