# Serin in an image without a shell or a package manager: the binary, the C library, a user that isn't root.
#
#   docker build -t serin:0.1.0 .
#   docker run --rm serin:0.1.0 demo

FROM rust:1.95.0-slim-bookworm AS build
WORKDIR /source
COPY . .
RUN cargo build --release --locked -p serin

# Debian 12 like the builder, so the C library is the same. `nonroot` is user and group 65532.
FROM gcr.io/distroless/cc-debian12:nonroot
COPY --from=build /source/target/release/serin /usr/local/bin/serin
USER 65532:65532
# 9910 clients, 9911 admin, 9912 probes: the chart's ports.
EXPOSE 9910 9911 9912
ENTRYPOINT ["/usr/local/bin/serin"]
CMD ["--help"]
