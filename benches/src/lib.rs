//! What the pieces of a request cost; the benchmarks themselves stand in `micro/`, the way to run them in the README.
