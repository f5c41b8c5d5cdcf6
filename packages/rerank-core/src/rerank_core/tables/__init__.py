"""Rows of files in the formats that people have.

- ``formats``: tells a format by a file's name and its first bytes; ``encodings``: bytes to text
- ``delimited``: CSV and TSV; ``json_rows``: JSON lines and arrays; ``arrow``: Parquet, Arrow, folders of ``datasets``
- ``columns``: which column holds what; ``table``: a whole file, in any of the formats
"""
