//! The pieces of the HTTP/1.1 path that are pure: heads read strictly and written anew, chunks watched as they pass.
#![expect(
    clippy::unwrap_used,
    reason = "a benchmark that cannot be set up should fail where it stands"
)]

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use serin_proxy::bench::{read_response, rewrite_request, watch_chunks};

const REQUEST: &[u8] = b"POST /v2/models/digits/infer HTTP/1.1\r\nHost: models.example\r\n\
User-Agent: python-requests/2.32.3\r\nAccept-Encoding: gzip, deflate\r\nAccept: */*\r\nConnection: keep-alive\r\n\
Content-Type: application/json\r\nx-user-id: user-314\r\n\
traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\nContent-Length: 1024\r\n\r\n";
const RESPONSE: &[u8] =
    b"HTTP/1.1 200 OK\r\ndate: Sat, 01 Nov 2025 12:00:00 GMT\r\nserver: uvicorn\r\n\
content-length: 1024\r\ncontent-type: application/json\r\n\r\n";
/// Events of a stream of tokens, one chunk each.
const CHUNKS: usize = 50;

fn heads(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("head");
    let mut out = Vec::with_capacity(1024);
    group.bench_function("request, parsed and written anew", |bencher| {
        bencher.iter(|| {
            out.clear();
            rewrite_request(black_box(REQUEST), &mut out).unwrap();
            out.len()
        });
    });
    group.bench_function("response, parsed", |bencher| {
        bencher.iter(|| read_response(black_box(RESPONSE)).unwrap());
    });
    group.finish();
}

fn chunks(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("chunks");
    for (name, size) in [("200 B", 200), ("16 KiB", 16 * 1024)] {
        let mut chunk = format!("{size:x}\r\n").into_bytes();
        chunk.resize(chunk.len() + size, b'x');
        chunk.extend_from_slice(b"\r\n");
        let last: &[u8] = b"0\r\n\r\n";
        group.throughput(Throughput::Bytes((size * CHUNKS) as u64));
        group.bench_function(format!("{CHUNKS} of {name}, watched"), |bencher| {
            bencher.iter(|| {
                let pieces = std::iter::repeat_n(black_box(&*chunk), CHUNKS);
                assert!(watch_chunks(pieces.chain([last])));
            });
        });
    }
    group.finish();
}

criterion_group!(benches, heads, chunks);
criterion_main!(benches);
