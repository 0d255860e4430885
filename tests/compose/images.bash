#!/usr/bin/env bash
# tests/compose/images.bash: a part of tests/compose/run. Makes stand-ins of missing images, builds the images of this
# repository, and checks what a build gets and compiles.
# shellcheck disable=SC2154 # variables of tests/compose/run

default_image() { sed -n "s/^ARG ${1#BLOBGATE_}=//p" Dockerfile; }

is_here() { docker image inspect "$1" >/dev/null 2>&1; }

# obtain VARIABLE STAND-IN MAKER: the image of the Dockerfile, or the stand-in.
obtain() {
    local variable=$1 stand_in=$2 maker=$3 image
    image=${!variable:-$(default_image "$variable")}
    [ -n "$image" ] || fail "the Dockerfile has no default for $variable."
    if ! is_here "$image" && ! timeout $pull_within docker pull --quiet "$image" >"$work/output" 2>&1; then
        echo "$image cannot be pulled ($(tail -n 1 "$work/output" | sed 's/.*: //')): using a stand-in."
        $maker "$stand_in" "$image"
        stand_ins+=("$stand_in")
        image=$stand_in
    fi
    export "$variable=$image"
    echo "$variable=$image"
}

make_debian() {
    [ -f $cached ] || bootstrap
    docker import $cached "$1" >/dev/null
}

bootstrap() {
    command -v debootstrap >/dev/null ||
        fail "the stand-in needs the Debian package debootstrap. Run tests/compose/install as root."
    [ "$(id -u)" = 0 ] || fail "only root can make the stand-in. Pull the image, or run this as root."
    step "debootstrap of Debian $release, cached in $cached"
    # This machine's mirror, if it is a Debian.
    local mirror=
    mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Origin: Debian' 'Component: main' "Codename: $release" 2>/dev/null | head -n 1) || true
    debootstrap --variant=minbase --include=gcc,libc6-dev,ca-certificates $release "$work/debian" $mirror >"$work/output" 2>&1 ||
        fail "debootstrap failed: $(grep -v '^I:' "$work/output" | tail -n 1)"
    # Renamed at the end, so that an interrupted run leaves no partial file. Without files that no program reads.
    mkdir -p .tools
    tar --numeric-owner -cf "$cached.$$" -C "$work/debian" --exclude='./dev/*' --exclude='./var/cache/apt/*' \
        --exclude='./var/lib/apt/lists/*' --exclude='./usr/share/doc/*' --exclude='./usr/share/locale/*' --exclude='./usr/share/man/*' .
    mv "$cached.$$" $cached
    rm -rf --one-file-system "$work/debian"
}

with_debian() { is_here $debian || { make_debian $debian && stand_ins+=("$debian"); }; }

# Like the public image: the same path of Envoy.
make_envoy() {
    local version=${2##*:v} envoy container
    with_debian
    envoy=$(dev/envoy "$version")
    container=$(docker create --network none $debian true)
    docker cp "$envoy" "$container:/usr/local/bin/envoy" >/dev/null
    docker commit "$container" "$1" >/dev/null
    docker rm "$container" >/dev/null
}

# This machine's Rust and its certificate authorities, through which it reaches the registry of crates.
make_rust() {
    local container version=${2##*:}
    with_debian
    [[ $(rustc --version) = "rustc ${version%%-*} "* ]] || fail "the stand-in for $2 needs this version of Rust. Install it with rustup."
    container=$(docker create --network none $debian true)
    tar -C "$(rustc --print sysroot)" --exclude=./share --transform 's,^\.,usr/local/rust,' -cf - . | docker cp - "$container:/"
    docker cp -L /etc/ssl/certs/ca-certificates.crt "$container:/etc/ssl/certs/" >/dev/null
    docker commit --change 'ENV PATH=/usr/local/rust/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' \
        --change 'ENV CARGO_HOME=/usr/local/cargo' "$container" "$1" >/dev/null
    docker rm "$container" >/dev/null
}

# ---- the images of this repository

trial_images="keys gate tool"

# build ARGUMENT...: builds in the directory $tree. The output is in $work/output.
build() {
    (cd "$tree" && DOCKER_BUILDKIT=1 COMPOSE_DOCKER_CLI_BUILD=1 BUILDKIT_PROGRESS=plain \
        timeout --foreground $build_within ${composes[-1]} --ansi never -p blobgate-build "$@") >"$work/output" 2>&1 </dev/null
}

# compiled: the crates that the last build compiled, sorted.
compiled() { sed -n 's/.* Compiling \([a-z0-9_-]*\) v.*/\1/p' "$work/output" | sort -u; }

# The files that a clone would have, with keys where a person has them, and one word in each. As with umask 077.
make_tree() {
    local file
    tree=$work/tree
    mkdir "$tree"
    git ls-files -z --cached --others --exclude-standard | xargs -0 tar -cf - --ignore-failed-read | tar -xf - -C "$tree"
    mkdir -p "$tree/"{secrets,target/debug,.tools,my-gate/secrets,my-gate/certs}
    for file in secrets/env secrets/runblob-key certs/edge-key.pem certs/edge.pem target/debug/blobgate .tools/envoy .env .git-credentials \
        my-gate/secrets/env my-gate/certs/edge-key.pem my-gate/blobgate.yaml cli/src/edge-key.pem deploy/compose/secrets/env \
        dev/private.key inbox/.env; do
        mkdir -p "$tree/$(dirname $file)"
        echo "# canary" >"$tree/$file"
    done
    chmod -R go-rwx "$tree"
    chmod 755 "$tree/tests/compose/reconciled" # mounted into a container
    cat >"$tree/context.Dockerfile" <<'DOCKERFILE'
FROM scratch
COPY . .
CMD ["none"]
DOCKERFILE
    cat >"$tree/context.yml" <<'YAML'
services: {context: {image: blobgate-test-context, build: {context: ., dockerfile: context.Dockerfile}}}
YAML
}

# context_files: the files with the word that a build gets.
context_files() {
    local container
    container=$(docker create blobgate-test-context)
    mkdir -p "$work/context"
    docker export "$container" | tar -xf - -C "$work/context" --exclude='dev/console' --exclude='proc/*' --exclude='sys/*'
    docker rm "$container" >/dev/null
    (cd "$work/context" && grep -rl canary .)
}

# has_old_symbols: of the native module in the gate's image. Envoy's image is Ubuntu 22.04, with glibc 2.35 and libgcc_s.
has_old_symbols() {
    local container newest
    container=$(docker create blobgate-trial-gate)
    docker cp "$container:/usr/local/lib/blobgate/libblobgate.so" "$work/libblobgate.so"
    docker rm "$container" >/dev/null
    objdump -T "$work/libblobgate.so" >"$work/output" || return
    newest=$(grep -o 'GLIBC_[0-9.]*' "$work/output" | sed 's/GLIBC_//' | sort -V | tail -n 1)
    [ -n "$newest" ] && [ "$(printf '%s\n2.35\n' "$newest" | sort -V | tail -n 1)" = 2.35 ] || return
    readelf -d "$work/libblobgate.so" | sed -n 's/.*NEEDED.*\[\(.*\)\]/\1/p' >"$work/output"
    ! grep -vE '^(libc\.so\.6|libm\.so\.6|libgcc_s\.so\.1|ld-linux-.*)$' "$work/output"
}

# is_unchanged FILE: a clone on Windows gets the same bytes.
is_unchanged() { git -c core.autocrlf=true -c core.eol=crlf cat-file --filters ":$1" | cmp - "$1" >"$work/output"; }

image_checks() {
    local image since
    check "a clone on Windows gets the scripts of the images as they are" is_unchanged deploy/compose/with-env
    step "building the images"
    since=$SECONDS
    check "the images are built from the files of a clone" build -f docker-compose.yml -f tests/compose/host-network.yml build
    echo "    $((SECONDS - since)) s"
    [ -z "$daemon" ] || check "it compiles the dependencies" eval '[ "$(compiled | wc -l)" -gt 100 ]'
    check "the images of production are built" build -f compose.production.yaml -f tests/compose/host-network.production.yml build
    check "the images of production compile nothing more" [ -z "$(compiled)" ]
    for image in $trial_images; do is_here blobgate-trial-$image || fail "the image blobgate-trial-$image was not built: see above."; done

    echo "// canary $(date +%s%N)" >>"$tree/cli/src/main.rs" # another one than of the run before
    since=$SECONDS
    check "a changed line of the tool: the images are built" build -f docker-compose.yml -f tests/compose/host-network.yml build
    echo "    $((SECONDS - since)) s"
    check "a changed line of the tool: only our crates are compiled, and no module" \
        diff <(printf 'blobgate\nblobgate-cli\nblobgate-inbox\n') <(compiled)
    check "a changed line of the tool: no module is compiled" says_not 'Finished .(release|native)'
    [ $MODULE != native ] || check "the native module loads with the C libraries of Ubuntu 22.04 and Debian 12" has_old_symbols

    check "a build gets the code" build -f context.yml build
    check "a build gets no key and no output of a build" diff <(echo ./cli/src/main.rs) <(context_files)
    docker rmi blobgate-test-context >/dev/null 2>&1 || true
}
