# shellcheck shell=bash
# What bulk_export and bulk_import share: several pgmonkey commands at a time, each with a
# line about its end, and a summary. Sourced by them, never run.

jobs=2
keep_going=yes
quiet=no
config=()
extra=() # options for pgmonkey, behind --
items=()
failed=0
done_well=0
worst=0
ended_by=

# Says something to people: on standard error, as pgmonkey does.
say() { printf '%s\n' "$*" >&2; }

die() {
    say "$(basename "$0"): $*"
    exit 2
}

# The command: $PGMONKEY, the one in PATH, or that of this checkout. cron's PATH is short.
find_pgmonkey() {
    if [ -n "${PGMONKEY:-}" ]; then
        pgmonkey=$PGMONKEY
    elif ! pgmonkey=$(command -v pgmonkey); then
        pgmonkey=$(dirname "$0")/../.venv/bin/pgmonkey
        [ -x "$pgmonkey" ] || die "no pgmonkey in PATH; name it with PGMONKEY=/path/to/pgmonkey"
    fi
}

# Prints the comment at the head of the script: its help.
usage() { sed -n '2,/^[^#]/{ /^#/!q; s/^# \{0,1\}//; p; }' "$0"; }

# Takes the options both have. Sets `taken` to how many words they were, 0 for none of them.
# shellcheck disable=SC2034 # the scripts read it
common_option() {
    taken=2
    case $1 in
    -c | --config | --connconfig | --filepath)
        [ "${2:-}" != - ] || die "-c - cannot be read by several commands; name a file"
        config=(-c "${2:?$1 needs a file}")
        ;;
    -j | --jobs)
        jobs=${2:?$1 needs a number}
        [[ $jobs =~ ^[1-9][0-9]*$ ]] || die "--jobs wants a number above 0, not '$jobs'"
        ;;
    -x | --stop) keep_going=no taken=1 ;;
    -q | --quiet) quiet=yes taken=1 ;;
    -h | --help)
        usage
        exit 0
        ;;
    *) taken=0 ;;
    esac
}

# Runs one command in the background: start ITEM WORDS...
start() {
    local item=$1
    shift
    while [ "$(jobs -rp | wc -l)" -ge "$jobs" ]; do sleep 0.05; done
    collect
    if [ -n "$ended_by" ] || { [ $keep_going = no ] && [ $failed -gt 0 ]; }; then
        return 1
    fi
    number=$((${number:-0} + 1))
    printf '%s' "$item" >"$work/$number.item"
    # Its own words first: of an option given twice, the last one counts.
    (
        pid='' stop='' code=0
        trap 'stop=yes; [ -z "$pid" ] || kill -TERM "$pid" 2>/dev/null' TERM
        "$pgmonkey" "$@" ${config[@]+"${config[@]}"} ${extra[@]+"${extra[@]}"} \
            >"$work/$number.log" 2>&1 </dev/null &
        pid=$!
        [ -z "$stop" ] || kill -TERM "$pid" 2>/dev/null
        wait "$pid" || code=$?
        # A signal ends `wait`, and the command a moment later.
        while kill -0 "$pid" 2>/dev/null; do
            code=0
            wait "$pid" || code=$?
        done
        printf '%s' "$code" >"$work/$number.tmp"
        mv "$work/$number.tmp" "$work/$number.code"
    ) &
}

# Says how the commands went that have ended since the last time.
collect() {
    local file number code item
    for file in "$work"/*.code; do
        [ -e "$file" ] || continue
        number=$(basename "$file" .code)
        code=$(cat "$file")
        item=$(cat "$work/$number.item")
        if [ "$code" = 0 ]; then
            done_well=$((done_well + 1))
            [ $quiet = yes ] || say "ok    $item: $(tail -n 1 "$work/$number.log")"
        else
            failed=$((failed + 1))
            [ "$code" -le "$worst" ] || worst=$code
            say "FAIL  $item: exit code $code"
            sed 's/^/      /' "$work/$number.log" >&2
        fi
        rm -f "$work/$number".*
    done
}

# Ends what runs, for a signal: the commands roll back and clean up by themselves.
interrupt() {
    local pids
    ended_by=$1
    pids=$(jobs -rp)
    # shellcheck disable=SC2086 # several numbers
    [ -z "$pids" ] || kill -TERM $pids 2>/dev/null || true
}

begin() {
    find_pgmonkey
    work=$(mktemp -d "${TMPDIR:-/tmp}/pgmonkey-bulk.XXXXXX")
    trap 'rm -rf "$work"' EXIT
    trap 'interrupt 130' INT
    trap 'interrupt 143' TERM
}

# Waits for the rest, prints the summary and leaves with the gravest exit code.
finish() {
    local what=$1 total=${#items[@]} left
    # A trap ends `wait`, so ask until nothing runs any more.
    while [ -n "$(jobs -rp)" ]; do wait || true; done
    collect
    left=$((total - done_well - failed))
    if [ $quiet = no ] || [ $failed -gt 0 ] || [ $left -gt 0 ]; then
        say "$total $what: $done_well done, $failed failed, $left not tried"
    fi
    exit "${ended_by:-$worst}"
}
