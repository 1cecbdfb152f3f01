#pragma once

/**
 * SCENEBUS_VECTORIZED before a function compiles it for several instruction sets; the loader picks at run time. Plain
 * C++ stays plain: the binary runs on every x86-64, and arm64 needs nothing (NEON is its baseline). Sanitizers start
 * before the loader's choice can run, so they get the baseline.
 */
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && !defined(__SANITIZE_ADDRESS__)
#define SCENEBUS_VECTORIZED __attribute__((target_clones("avx2", "default")))
#else
#define SCENEBUS_VECTORIZED
#endif
