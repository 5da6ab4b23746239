"""What runs leave behind: the CSV schema and the manifest of a run (``files``), tables of many volumes joined
(``joint`` and its parts), sets of results to compare (``result_set``, ``result_series``), and how many prompts were
saved.
"""

from pose.files.tables import COUNT_COLUMNS, read_table, write_table
from pose.results.files import (
    NUMBER_OF_SLICE,
    RAW_DATA_COLUMNS,
    TIMES_COLUMNS,
    FolderRuns,
    RunFiles,
    environment_manifest,
    failure_reason,
    is_label_column,
    is_slice_metric,
    last_failure,
    list_runs,
    newest_run,
    ordered_columns,
    package_versions,
    raw_data_table,
    read_manifest,
    statistics_of,
    summarise,
    summarised_columns,
    write_failure,
    write_json,
    write_results,
)

__all__ = [
    "COUNT_COLUMNS",
    "NUMBER_OF_SLICE",
    "RAW_DATA_COLUMNS",
    "TIMES_COLUMNS",
    "FolderRuns",
    "RunFiles",
    "environment_manifest",
    "failure_reason",
    "is_label_column",
    "is_slice_metric",
    "last_failure",
    "list_runs",
    "newest_run",
    "ordered_columns",
    "package_versions",
    "raw_data_table",
    "read_manifest",
    "read_table",
    "statistics_of",
    "summarise",
    "summarised_columns",
    "write_failure",
    "write_json",
    "write_results",
    "write_table",
]
