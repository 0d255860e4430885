#!/usr/bin/env bash
# tests/compose/trial.bash: a part of tests/compose/run. Runs docker-compose.yml, also with the changes of the *.yml here.
# shellcheck disable=SC2154 # variables of tests/compose/run

# compose ARGUMENT...: runs Compose in the directory $tree, with the additional file of $over.
compose() {
    (cd "$tree" && timeout --foreground $up_within $compose --ansi never -p "$project" -f docker-compose.yml $over "$@") </dev/null
}

# start [OVER [OPTION...]]: runs until the sender ends. Sets $code, and writes the output to $work/output.
start() {
    over=${1:+-f $1} code=0
    shift $(($# > 0))
    compose up "$@" --no-color --exit-code-from sender >"$work/output" 2>&1 || code=$?
    strip_escapes
}

strip_escapes() { sed -i 's/\x1b\[[0-9;]*[A-Za-z]//g' "$work/output"; } # Compose 2 writes them in any case

up() {
    start "$@"
    down
}

down() {
    compose down --volumes --remove-orphans --timeout 5 >"$work/down" 2>&1 || cat "$work/down" >>"$work/output"
}

ends_with() { [ "$code" = "$1" ] || { echo "    it ended with $code"; false; }; }
ends_badly() { [ "$code" != 0 ] || { echo "    it ended with 0"; false; }; }
says() { grep -qE "$1" "$work/output"; }
says_once() { [ "$(grep -cE "$1" "$work/output")" = 1 ]; }
says_not() { ! says "$1"; }

# The sender's lines, without Compose's prefix.
sender_output() { sed -n 's/^sender[^|]*| \{0,1\}//p' "$work/output"; }

# rows: the sender's table, a line for each row: mark, delivery, service; then what is wrong or why it was skipped.
rows() {
    sender_output | awk '
        function end() { if (row != "") print row; row = "" }
        / SENT .* ANSWER .* ARRIVED AT/ {
            sent_at = index($0, "SENT"); answer_at = index($0, "ANSWER"); arrived_at = index($0, "ARRIVED AT")
            next
        }
        sent_at && /^(ok|FAIL|-) / {
            end(); mark = $1; sent = substr($0, sent_at, answer_at - sent_at); sub(/ +$/, "", sent)
            row = mark ": " sent ": " substr($0, arrived_at)
            next
        }
        row != "" && /^        / { if (mark == "-" || $1 == "!") { sub(/^ +(! )?/, ""); row = row ": " $0 } next }
        { end() }
        END { end() }'
}

# rows_are SCRIPT: the rows are those with an inbox, changed by this sed script.
rows_are() { diff <(sed -E "$1" "$work/rows") <(rows) | sed 's/^/    /'; }

# Without the inbox: nothing reconciles, and the quarantine service gets quarantined deliveries.
alone='
    s/^ok: (generated, without a callback): video$/-: \1: skipped: without an inbox in the path, nothing reconciles it/
    s/: inbox$/: quarantine/'
# With the two services exchanged.
exchanged='
    s/^ok: (.*): video$/FAIL: \1: failure: expected it at video/; t
    s/^ok: (.*): failure$/FAIL: \1: video: expected it at failure/'

# gate_runs_envoy_yaml: the Envoy in the container reads exactly this file, or with MODULE=native what the tool makes of it.
gate_runs_envoy_yaml() {
    local file
    file=$(compose exec -T gate sh -c '
        for process in /proc/[0-9]*; do
            case $(readlink "$process/exe") in
            */envoy) tr "\0" "\n" <"$process/cmdline" | sed -n "/^-c\$/{n;p}" ;;
            esac
        done' 2>"$work/output")
    [ -n "$file" ] || return # not started yet
    compose exec -T gate cat "$file" >"$work/envoy.yaml" || return
    diff -q "$work/envoy.yaml" <(if [ $MODULE = native ]; then
        docker run --rm --interactive --network none --entrypoint sh blobgate-trial-tool -c \
            'cat >/tmp/envoy.yaml && blobgate render --native /tmp/envoy.yaml --module-file /usr/local/lib/blobgate/libblobgate.so' <envoy.yaml
    else
        cat envoy.yaml
    fi) >"$work/output"
}

# each_container COMMAND...: runs the command in each running container of the project.
each_container() {
    local container containers
    containers=$(docker ps --quiet --filter "label=com.docker.compose.project=$project")
    [ -n "$containers" ] || return
    for container in $containers; do
        docker exec "$container" "$@" || return
    done
}

no_root() { each_container sh -c 'for process in /proc/[0-9]*; do [ "$(stat -c %u "$process" 2>/dev/null)" != 0 ] || exit; done'; }

no_writes() { each_container sh -c '! touch /written /usr/local/bin/written /blobgate/envoy.yaml 2>/dev/null'; }

# trial_checks: the demo, with and without the inbox, and with wrong expectations.
trial_checks() {
    local count

    step "$name: gate, inbox, services and sender"
    start
    cat "$work/output"
    check "$name: ends with the sender's status 0" ends_with 0
    rows >"$work/rows"
    count=$(wc -l <"$work/rows")
    check "$name: every row is as expected, none skipped" says "^sender.* All $count rows are as expected\.$"
    check "$name: the inbox is in the path" says '^sender.* inbox .*: stores and delivers$'
    check "$name: it makes the keys" says '^keys.* Created development secrets: '

    step "$name: a second start, with the keys and the store of the first"
    start
    check "$name: the second start ends with the sender's status 0" ends_with 0
    check "$name: the second start makes no keys" says_not '^keys.* Created '

    step "$name: the gate's envoy.yaml"
    over=
    compose up -d gate >"$work/output" 2>&1 || true
    check "$name: the gate runs exactly this envoy.yaml" soon gate_runs_envoy_yaml
    check "$name: no container runs as root" no_root
    check "$name: no container can write outside its volumes" no_writes
    check "$name: the control: containers are found" eval '! nothing_is_left'
    down

    step "$name: the gate without the inbox"
    BLOBGATE_INBOX=0 up
    check "$name: without the inbox, ends with the sender's status 0" ends_with 0
    check "$name: without the inbox, every row is as expected, one skipped" says "^sender.* All $((count - 1)) rows are as expected\. 1 skipped\.$"
    check "$name: without the inbox, only the generation without a callback is skipped" rows_are "$alone"
    check "$name: the inbox is not in the path" says '^sender.* inbox .*: not in the path; the gate delivers$'

    step "$name: a sender with a wrong expectation"
    up tests/compose/wrong-expectation.yml
    check "$name: with wrong rows, ends with the sender's status 1" ends_with 1
    check "$name: the sender reports the wrong rows: all rows of both services" rows_are "$exchanged"
    check "$name: the sender reports their number" \
        says "^sender.* $(grep -cE ': (video|failure)$' "$work/rows") of $count rows are not as expected\.$"

    check "$name: leaves no container, network or volume" nothing_is_left
}

# faults_checks: a generation without a webhook, a service that ends, and a gate that does not start.
faults_checks() {
    step "$name: a generation without a webhook"
    up tests/compose/never-called-back.yml
    check "$name: without a webhook, ends with the sender's status 0" ends_with 0
    check "$name: the inbox reconciles and delivers it" says '^sender.* The generation without a webhook was reconciled and delivered\.$'
    check "$name: the inbox logs it" says '^inbox.*"message":"reconciled hook=veo3 '

    step "$name: a service that ends"
    up tests/compose/service-gone.yml
    check "$name: without a service, ends with $code and not 0" ends_badly
    check "$name: without a service, the sender does not succeed" says_not 'rows are as expected\.'

    step "$name: a configuration that Envoy rejects"
    start tests/compose/bad-configuration.yml
    check "$name: without a gate, ends with $code and not 0" ends_badly
    compose logs --no-color gate >>"$work/output" 2>&1 || true # Compose 1 shows nothing of a container that has not started
    check "$name: the gate reports why it does not start" says '^gate.*nonsense'
    down

    check "$name: leaves no container, network or volume" nothing_is_left
}
