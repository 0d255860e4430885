#!/usr/bin/env bash
# tests/compose/production.bash: a part of tests/compose/run. Runs compose.production.yaml with a setup folder that its own
# tool has made, and an app behind it.
# shellcheck disable=SC2034,SC2154 # variables that other parts of tests/compose/run set or read

host=hooks.test
export BLOBGATE_PROFILE=dev # as docker-compose.yml builds, so that one build serves both files

# production ARGUMENT...: runs Compose with compose.production.yaml in the directory $tree, with health checks each second.
production() {
    (cd "$tree" && timeout --foreground $up_within $compose --ansi never -p "$project" -f compose.production.yaml \
        -f tests/compose/often.production.yml "$@") </dev/null
}

# tool ARGUMENT...: a command of the tool, as the manual has it.
tool() { production run --rm -T tool "$@"; }

# free_port FIRST: a port of the next 200 on which nothing listens. Runs side by side take different ones.
free_port() {
    local port first=$(($1 + 200 * ${#begun[@]}))
    for port in $(shuf -i "$first-$((first + 199))"); do
        (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || { echo "$port"; return; }
    done
}

# edit SCRIPT: changes the setup file as its owner would.
edit() { sed -i -E "$1" "$BLOBGATE_SETUP/blobgate.yaml"; }

make_setup() {
    local options
    read -ra options < <(dev/block compose-init | sed -n 's/.* run --rm tool init //p')
    export BLOBGATE_METRICS_PORT BLOBGATE_ADMIN_PORT
    BLOBGATE_SETUP=$(mktemp -d "$work/setup.XXXXXX")
    export BLOBGATE_SETUP
    public=$(free_port 600) # needs a capability
    app=$(free_port 20000) BLOBGATE_METRICS_PORT=$(free_port 22000) BLOBGATE_ADMIN_PORT=$(free_port 24000)
    install -d -o 10001 -g 10001 -m 700 "$BLOBGATE_SETUP"
    echo "rb_live_$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')" >"$BLOBGATE_SETUP/key"
    chown 10001:10001 "$BLOBGATE_SETUP/key"
    tool init "${options[@]}" --host $host --listen "127.0.0.1:$public" --service "http://127.0.0.1:$app" --path /webhook \
        --api-key-file key >"$work/output" 2>&1 || return
    # No status API here: without a valid token a delivery gets 403.
    edit 's/any_of: \[.*\]/any_of: [token]/; s/^( *source:).*/\1 [127.0.0.1]/; /^(ports|module):/d'
    echo "module: $MODULE" >>"$BLOBGATE_SETUP/blobgate.yaml"
    echo "ports: {services: $(free_port 26000), metrics: $BLOBGATE_METRICS_PORT, inbox: $(free_port 28000), admin: $BLOBGATE_ADMIN_PORT, access_log: $(free_port 30000)}" \
        >>"$BLOBGATE_SETUP/blobgate.yaml"
}

# secrets: the values of the keys, and the tokens of the deliveries.
secrets() {
    sed 's/^[^=]*=//' "$BLOBGATE_SETUP/secrets/env"
    cat "$BLOBGATE_SETUP/secrets/runblob-key"
    printf '%s\n' "${urls[@]##*/}"
}

secrets_are_in() { grep -qF -f <(secrets | grep .) "$@"; } # FILE...

keeps_secrets() {
    production config >"$work/config" 2>&1
    docker ps --quiet --filter "label=com.docker.compose.project=$project" | xargs docker inspect >"$work/inspect"
    ! secrets_are_in "$work/config" "$work/inspect"
}

# logs_without_secrets: the log has lines of both, and none has a secret.
logs_without_secrets() {
    production logs --no-color >"$work/output" 2>&1
    strip_escapes
    says '^gate' && says '^inbox' && ! secrets_are_in "$work/output"
}

start_app() {
    docker run --detach --name "$project-app" --network host --read-only --cap-drop ALL --volume "$project-app:/var/lib/blobgate" \
        blobgate receiver --listen "127.0.0.1:$app" --keep /var/lib/blobgate/kept >"$work/output" 2>&1
}

stop_app() {
    docker rm --force "$project-app" >/dev/null 2>&1
    docker volume rm "$project-app" >/dev/null 2>&1
}

service_container() { docker ps --all --quiet --filter "label=com.docker.compose.project=$project" --filter "label=com.docker.compose.service=$1"; }

is_healthy() { [ "$(docker inspect --format '{{.State.Health.Status}}' "$(service_container "$1")" 2>/dev/null)" = healthy ]; }

are_healthy() { is_healthy gate && is_healthy inbox; }

# callback_url: a URL with a valid token, for one generation. The inbox quarantines a second one.
callback_url() {
    tool mint --setup blobgate.yaml --job order-1
}

# deliver URL ID [OPTION...]: prints the status of a delivery. HTTP/1.1: over HTTP/2 curl 7.88 loses some answers that come before
# the end of its body.
deliver() {
    local url=$1 id=$2
    shift 2
    curl --silent --show-error --output "$work/answer" --write-out '%{http_code}' --noproxy '*' --http1.1 --max-time 20 \
        --cacert "$BLOBGATE_SETUP/certs/edge.pem" --resolve "$host:$public:127.0.0.1" "$@" -H 'content-type: application/json' -d '{
            "generation_id": "'"$id"'", "status": "completed", "prompt": "A cat playing with a ball in a sunny room",
            "video_url": "https://cdn.runblob.io/videos/your-video.mp4", "created_at": "2025-12-06T21:43:03.374000",
            "completed_at": "2025-12-06T21:44:06.143000", "seed": 319790131, "error": null}' "$url" 2>>"$work/output" || true
}

is_answered() { # STATUS URL ID [OPTION...]
    local expected=$1 status
    shift
    status=$(deliver "$@")
    [ "$status" = "$expected" ] || { echo "    it was answered with $status: $(cat "$work/answer")" >>"$work/output"; false; }
}

# arrived ID: the app has it, with a valid signature of Standard Webhooks.
arrived() {
    docker run --rm --network none --volume "$project-app:/app:ro" --entrypoint sh blobgate -c 'for f in /app/kept/*; do
        if grep -q "$1" "$f"; then cat "$f"; exit; fi; done; exit 1' sh "$1" >"$work/kept" 2>/dev/null || return
    python3 - "$work/kept" "$BLOBGATE_SETUP/secrets/env" <<'PY'
import base64, hashlib, hmac, sys
head, body = open(sys.argv[1], "rb").read().replace(b"\r\n", b"\n").split(b"\n\n", 1)
headers = dict(line.split(b": ", 1) for line in head.lower().split(b"\n") if b": " in line)
signature = next(line.split(b": ", 1)[1] for line in head.split(b"\n") if line.lower().startswith(b"webhook-signature"))
key = next(line.split("=", 1)[1].strip() for line in open(sys.argv[2]) if line.startswith("BLOBGATE_SIGNING_KEY="))
signed = b".".join([headers[b"webhook-id"], headers[b"webhook-timestamp"], body])
mac = base64.b64encode(hmac.new(base64.b64decode(key.removeprefix("whsec_")), signed, hashlib.sha256).digest())
sys.exit(b"v1," + mac not in signature.split())
PY
}

# kill_service NAME: kills its processes, as a fault would. `docker kill` would count as a person's wish.
kill_service() { kill -9 "$(docker inspect --format '{{.State.Pid}}' "$(service_container "$1")")"; }

restarts() { docker inspect --format '{{.RestartCount}}' "$(service_container "$1")"; }

# process_of SERVICE PROGRAM: the number of its process on this host.
process_of() {
    local pid
    for pid in $(docker top "$(service_container "$1")" -o pid | sed 1d); do
        [[ $(readlink "/proc/$pid/exe") != */$2 ]] || echo "$pid"
    done
}

is_unhealthy() { [ "$(docker inspect --format '{{.State.Health.Status}}' "$(service_container "$1")")" = unhealthy ]; }

are_unhealthy() { is_unhealthy gate && is_unhealthy inbox; }

# envoy_admin PATH: a POST at Envoy's admin socket.
envoy_admin() {
    curl --silent --show-error --fail --noproxy '*' --request POST --unix-socket "/proc/$(process_of gate envoy)/root/run/blobgate/admin.sock" \
        "http://localhost$1" >>"$work/output" 2>&1
}

# ends_without FILE SERVICE: without this file of the setup folder the service ends with an error, which says so.
ends_without() {
    local code=0
    mv "$BLOBGATE_SETUP/$1" "$work/away"
    production run --rm -T --no-deps "$2" >"$work/output" 2>&1 || code=$?
    mv "$work/away" "$BLOBGATE_SETUP/$1"
    ends_badly && says "cannot read ($1|/setup/$1): it is missing"
}

ends_without_setup() {
    local code=0
    BLOBGATE_SETUP=$work/none production up --detach --no-build >"$work/output" 2>&1 || code=$?
    BLOBGATE_SETUP=$work/none production down --volumes >>"$work/output" 2>&1
    ends_badly && says 'path does not exist' && [ ! -e "$work/none" ]
}

# ends_damaged: a line with a key, but without a name, is refused by its number.
ends_damaged() {
    local code=0
    cp -p "$BLOBGATE_SETUP/secrets/env" "$work/away"
    sed -i 's/^BLOBGATE_SIGNING_KEY=/BLOBGATE_SIGNING_KEY /' "$BLOBGATE_SETUP/secrets/env"
    production run --rm -T --no-deps inbox >"$work/output" 2>&1 || code=$?
    cp -p "$work/away" "$BLOBGATE_SETUP/secrets/env"
    ends_badly && says 'cannot use line [0-9]+ of secrets/env' && ! secrets_are_in "$work/output"
}

# is_ready [loaded]: what the health check asks.
is_ready() { docker exec "$(service_container gate)" ready "$BLOBGATE_METRICS_PORT" /ready "$@" >/dev/null 2>&1; }

is_ready_without_certificate() { is_ready && ! is_ready loaded && ! is_healthy gate; }

has_restarted() { [ "$(restarts "$1")" -gt 0 ] && is_healthy "$1"; }

# runs_unprivileged SERVICE PROGRAM: each process has the user 10001, and at most the capability for low ports.
runs_unprivileged() {
    local pid found=
    for pid in $(docker top "$(service_container "$1")" -o pid | sed 1d); do
        [ "$(stat -c %u "/proc/$pid" 2>/dev/null)" = 10001 ] || return
        case $(sed -n 's/^CapEff:\t//p' "/proc/$pid/status" 2>/dev/null) in 0000000000000000 | 0000000000000400) ;; *) return 1 ;; esac
        [[ $(readlink "/proc/$pid/exe") != */$2 ]] || found=yes
    done
    [ "$found" = yes ]
}

# runs_module: the native module is mapped into Envoy. A module of Wasm is not.
runs_module() {
    local maps
    maps=$(cat "/proc/$(process_of gate envoy)/maps") || return
    [[ $MODULE = native && $maps = */libblobgate.so* || $MODULE = wasm && $maps != */libblobgate.so* ]]
}

is_read_only() { [ "$(docker inspect --format '{{.HostConfig.ReadonlyRootfs}}' "$(service_container "$1")")" = true ]; }

served_certificate() {
    openssl s_client -connect "127.0.0.1:$public" -servername $host </dev/null 2>/dev/null | openssl x509 -noout -fingerprint 2>/dev/null
}

# renew_certificate: as the manual does it.
renew_certificate() {
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj "/CN=renewed" -addext "subjectAltName=DNS:$host" \
        -addext "basicConstraints=critical,CA:FALSE" -keyout "$work/renewed-key.pem" -out "$work/renewed.pem" 2>/dev/null
    install -o 10001 -g 10001 -m 600 "$work/renewed-key.pem" "$BLOBGATE_SETUP/certs/.edge-key.pem"
    install -o 10001 -g 10001 -m 644 "$work/renewed.pem" "$BLOBGATE_SETUP/certs/.edge.pem"
    mv "$BLOBGATE_SETUP/certs/.edge-key.pem" "$BLOBGATE_SETUP/certs/edge-key.pem"
    mv "$BLOBGATE_SETUP/certs/.edge.pem" "$BLOBGATE_SETUP/certs/edge.pem"
}

serves_renewed() { [ "$(served_certificate)" = "$(openssl x509 -noout -fingerprint <"$work/renewed.pem")" ]; }

# key_updates: how often Envoy has loaded the API key.
key_updates() {
    docker exec "$(service_container gate)" bash -c '
        exec 3<>/dev/tcp/127.0.0.1/'"$BLOBGATE_METRICS_PORT"'
        printf "GET /stats/prometheus HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n" >&3; cat <&3' |
        tr -d '\r' | sed -n 's/^envoy_sds_update_success{.*"runblob_key"} //p'
}

key_was_loaded_again() { [ "$(key_updates)" -gt "${1:-0}" ]; }

production_down() {
    production down --volumes --remove-orphans --timeout 30 >"$work/down" 2>&1 || cat "$work/down" >>"$work/output"
    stop_app
}

production_checks() {
    local url before updates urls=()
    name+=", production"
    step "$name: a setup folder, made and rendered by the image"
    check "$name: the file is valid without a setup folder" production config --quiet
    check "$name: without a setup folder it ends, and makes none" ends_without_setup
    check "$name: init makes the setup folder" make_setup
    check "$name: render writes the configuration" eval 'tool render >"$work/output" 2>&1'
    check "$name: the configuration has no mistake" eval 'tool check blobgate.yaml envoy.yaml >"$work/output" 2>&1'

    check "$name: without its keys the gate ends, and says why" ends_without secrets/env gate
    check "$name: without its variables the inbox ends, and says why" ends_without inbox.env inbox
    check "$name: with a damaged file the inbox ends, and shows no key" ends_damaged

    step "$name: up"
    start_app
    check "$name: up" eval 'production $(dev/block compose-up | sed -n "s/.* \(up .*\)/\1/p") --no-build >"$work/output" 2>&1'
    check "$name: gate and inbox become healthy" soon are_healthy
    # Health checks of the gate are short processes of root.
    check "$name: Envoy runs as 10001, with one capability at most" soon runs_unprivileged gate envoy
    check "$name: Envoy runs the module $MODULE" runs_module
    check "$name: the inbox runs as 10001, without a capability" soon runs_unprivileged inbox blobgate
    check "$name: the roots are read-only" eval 'is_read_only gate && is_read_only inbox'
    check "$name: the control: the keys are found" secrets_are_in "$BLOBGATE_SETUP/secrets/env"
    check "$name: neither config nor inspect shows a key" keeps_secrets

    step "$name: deliveries"
    url=$(callback_url 2>"$work/output")
    urls+=("$url")
    check "$name: a genuine delivery gets 200" is_answered 200 "$url" aaaaaaaa-0000-4000-8000-000000000001
    check "$name: it arrives at the app, signed" soon arrived aaaaaaaa-0000-4000-8000-000000000001
    check "$name: a forged token gets 401" is_answered 401 "${url%?????}AAAAA" aaaaaaaa-0000-4000-8000-000000000002
    check "$name: with a spoofed address it gets 403" \
        is_answered 403 "${url%?????}AAAAA" aaaaaaaa-0000-4000-8000-000000000003 --interface 127.0.0.2 -H 'x-forwarded-for: 127.0.0.1'
    check "$name: neither arrives" eval '! arrived aaaaaaaa-0000-4000-8000-000000000002 && ! arrived aaaaaaaa-0000-4000-8000-000000000003'

    step "$name: faults"
    : >"$work/output"
    url=$(callback_url 2>>"$work/output")
    urls+=("$url")
    kill_service inbox
    check "$name: the killed inbox starts again" soon has_restarted inbox
    check "$name: after that a delivery gets 200" soon is_answered 200 "$url" aaaaaaaa-0000-4000-8000-000000000004
    check "$name: it arrives at the app" soon arrived aaaaaaaa-0000-4000-8000-000000000004
    url=$(callback_url 2>>"$work/output")
    urls+=("$url")
    kill_service gate
    check "$name: the killed gate starts again" soon has_restarted gate
    check "$name: after that a delivery gets 200 too" soon is_answered 200 "$url" aaaaaaaa-0000-4000-8000-000000000005

    step "$name: health"
    : >"$work/output"
    envoy_admin /healthcheck/fail || true
    kill -STOP "$(process_of inbox blobgate)"
    check "$name: a gate that drains and an inbox that hangs become unhealthy" soon are_unhealthy
    envoy_admin /healthcheck/ok || true
    kill -CONT "$(process_of inbox blobgate)"
    check "$name: they become healthy again" soon are_healthy

    step "$name: renewed files, without a restart"
    : >"$work/output"
    before=$(restarts gate)
    renew_certificate
    check "$name: the gate serves a renewed certificate" soon serves_renewed
    updates=$(key_updates || true)
    check "$name: the control: Envoy has loaded the first API key" [ "${updates:-0}" -gt 0 ]
    echo "rb_live_renewed" | install -o 10001 -g 10001 -m 600 /dev/stdin "$BLOBGATE_SETUP/secrets/runblob-key"
    check "$name: render writes the new API key" eval 'tool render >"$work/output" 2>&1'
    check "$name: Envoy loads it" soon key_was_loaded_again "$updates"
    check "$name: and the gate has not restarted" [ "$(restarts gate)" = "$before" ]

    check "$name: the log has no key and no token" logs_without_secrets

    step "$name: down and up"
    production down --timeout 30 >"$work/output" 2>&1 || true
    mv "$BLOBGATE_SETUP/certs/edge.pem" "$work/away"
    check "$name: up after down" eval 'production up --detach --no-build >"$work/output" 2>&1'
    check "$name: without its certificate the gate starts" soon is_ready
    check "$name: without its certificate the gate is not healthy" is_ready_without_certificate
    mv "$work/away" "$BLOBGATE_SETUP/certs/edge.pem"
    check "$name: it becomes healthy" soon are_healthy
    check "$name: the store has the events" eval \
        'production exec -T inbox blobgate inbox ls --admin "http://127.0.0.1:$BLOBGATE_ADMIN_PORT" 2>&1 | tee "$work/output" | grep -q aaaaaaaa-0000-4000-8000-000000000001'
    production_down
    check "$name: leaves no container, network or volume" nothing_is_left
}
