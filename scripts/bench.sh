#!/usr/bin/env bash
# The criterion benchmarks. Arguments go to cargo bench, such as `-p coati-shared`.
. "$(dirname "$0")/lib.sh"
exec cargo bench "${locked[@]}" "${everything[@]}" --benches "$@"
