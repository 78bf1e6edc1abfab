#!/bin/sh
# The table of verdicts of a claims report, as the README shows it. usage: claims_table.sh REPORT_FOLDER
set -eu
[ $# -eq 1 ] || { echo "usage: $0 REPORT_FOLDER" >&2; exit 2; }
# Columns of SUMMARY.md: claim, verdict, by, parts, device, source, statement, for example. None of the cells of these
# rows holds a '|'.
awk -F ' *[|] *' '/^\| / { printf "| %s | %s | %s | %s | %s | %s |\n", $2, $3, $4, $5, $6, $9 }' "$1/SUMMARY.md"
