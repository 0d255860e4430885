# The images of docker-compose.yml and compose.production.yaml, for Linux on x86_64 and aarch64:
#
#   tool    the program blobgate, the default
#   gate    Envoy with the module: the Wasm module, or with MODULE=native the native module
#   trial   the gate with the repository's envoy.yaml
#   keys    makes the certificate and keys of the trial
#
# It needs BuildKit, the default of Docker since 23.
ARG RUST_IMAGE=rust:1.95.0-slim-bookworm
ARG ENVOY_IMAGE=envoyproxy/envoy:v1.40.0
ARG BASE_IMAGE=debian:12-slim
ARG MODULE=wasm

FROM ${RUST_IMAGE} AS rust
WORKDIR /src
# rust-toolchain.toml stays outside, since its linters would be downloaded.
RUN [ -d "$(rustc --print target-libdir --target wasm32-wasip1)" ] || rustup target add wasm32-wasip1
# Two builds at a time share the folder `registry`. Cargo's locks stand beside it, so links move them into it.
RUN mkdir -p /usr/local/cargo && ln -sf registry/.package-cache registry/.package-cache-mutate /usr/local/cargo/
# What the final images need and their bases may lack. Without RUN in the final stages, a Mac builds for another platform.
RUN mkdir -p /out && mkdir -m 700 /out/setup /out/store

FROM rust AS members
# Cargo reads the manifest of each member. Empty files stand for their code, so that a change of it compiles no module.
COPY Cargo.toml Cargo.lock ./
COPY .cargo .cargo
COPY cli/Cargo.toml cli/
COPY inbox/Cargo.toml inbox/
COPY native/Cargo.toml native/
COPY testkit/Cargo.toml testkit/
COPY testkit/book/Cargo.toml testkit/book/
COPY testkit/needs/Cargo.toml testkit/needs/
RUN for member in inbox native testkit testkit/book testkit/needs; do mkdir $member/src && touch $member/src/lib.rs; done
COPY src src

FROM members AS wasm-module
COPY dev/module dev/wasm-linker dev/
# A folder of compiled dependencies outlives a build. Cargo compares times, and the times of two clones do not tell which
# code it has: touched files are compiled.
RUN --mount=type=cache,id=blobgate-crates,target=/usr/local/cargo/registry \
    --mount=type=cache,id=blobgate-module,target=/src/target,sharing=locked \
    find src -type f -exec touch {} + && \
    dev/module && mkdir -p /out/module/share/blobgate && cp target/wasm32-wasip1/release/blobgate.wasm /out/module/share/blobgate/

# For the C library of the Envoy image, which may be older than this one: tests/compose/images.bash looks at the file.
FROM members AS native-module
COPY dev/native dev/
COPY native native
RUN --mount=type=cache,id=blobgate-crates,target=/usr/local/cargo/registry \
    --mount=type=cache,id=blobgate-native,target=/src/target,sharing=locked \
    find src native -type f -exec touch {} + && \
    dev/native && mkdir -p /out/module/lib/blobgate && cp target/native/libblobgate.so /out/module/lib/blobgate/

FROM ${MODULE}-module AS module

FROM rust AS program
# dev compiles in a third of the time. Its debug information would be stripped.
ARG PROFILE=release
COPY . .
RUN --mount=type=cache,id=blobgate-crates,target=/usr/local/cargo/registry \
    --mount=type=cache,id=blobgate-program,target=/src/target,sharing=locked \
    find . -path ./target -prune -o -type f -exec touch {} + && \
    CARGO_PROFILE_DEV_DEBUG=none cargo build --locked --profile "$PROFILE" --bin blobgate && \
    strip -o /out/blobgate "target/$(echo "$PROFILE" | sed 's/^dev$/debug/')/blobgate"

FROM ${RUST_IMAGE} AS keys
WORKDIR /blobgate
# The modes of a clone depend on the umask.
COPY --chmod=755 dev/certificate dev/secrets dev/
COPY --chmod=755 deploy/compose/keys /usr/local/bin/
COPY --chmod=644 certs/sds.yaml certs/
RUN mkdir secrets target && chown 10001:10001 certs secrets target
USER 10001:10001
CMD ["keys"]

FROM ${ENVOY_IMAGE} AS gate
COPY --chmod=755 deploy/compose/with-env deploy/compose/ready /usr/local/bin/
COPY --from=module /out/module /usr/local
COPY --from=rust --chown=10001:10001 /out/setup /setup
WORKDIR /setup
USER 10001:10001
ENTRYPOINT []
CMD ["with-env", "secrets/env", "--", "envoy", "-c", "envoy.yaml"]

# The files of the trial, with the modes that a clone may not have.
FROM wasm-module AS wasm-trial
COPY --chmod=644 envoy.yaml /out/trial/
RUN mkdir -p /out/trial/target/wasm32-wasip1/release && cp /out/module/share/blobgate/blobgate.wasm /out/trial/target/wasm32-wasip1/release/

FROM program AS native-trial
RUN mkdir /out/trial && \
    /out/blobgate render --native envoy.yaml --module-file /usr/local/lib/blobgate/libblobgate.so >/out/trial/envoy.yaml

FROM ${MODULE}-trial AS trial-files

FROM gate AS trial
WORKDIR /blobgate
COPY --from=trial-files /out/trial ./

FROM ${BASE_IMAGE} AS tool
# For a PostgreSQL or a receiver of notifications with a public certificate.
COPY --from=rust /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --chmod=755 deploy/compose/with-env deploy/compose/ready /usr/local/bin/
COPY --from=module /out/module /usr/local
COPY --from=program /out/blobgate /usr/local/bin/
COPY --from=rust --chown=10001:10001 /out/setup /setup
COPY --from=rust --chown=10001:10001 /out/store /var/lib/blobgate
WORKDIR /setup
USER 10001:10001
ENTRYPOINT ["blobgate"]
