"""Stores shared by a team: PostgreSQL holds the writer's lock and the list of valid files, object storage the files.

Input: addresses, and the files of a publication. Output: the last complete publication. Only `storage` uses this
package. Start reading at `published_files`; only `database` imports PostgreSQL's driver, and only `object_store`
imports fsspec.
"""
