/* Memory: the only place of the library that calls malloc. Counts calls and can be told to fail, so
 * that tests prove "nothing allocated in a step" and "every failure path frees what it took". */
#ifndef BG_CORE_MEM_H
#define BG_CORE_MEM_H

#include <stddef.h>
#include <stdint.h>

#include "core/status.h"

#define BG_ALIGN 64

/* *(void **)out = zeroed, 64-byte aligned memory for count items of `size` bytes; NULL when count
 * is 0. The product is checked. Fails with BG_E_NOMEM (sentence written) and leaves *out NULL. */
BG_MUST enum bg_status bg_alloc(void *out, int64_t count, size_t size);
/* Grows *(void **)out from old_count to new_count items; new items are zero. On failure *out is
 * unchanged. */
BG_MUST enum bg_status bg_grow(void *out, int64_t old_count, int64_t new_count, size_t size);
/* A copy to be freed by the caller; NULL for NULL. */
BG_MUST enum bg_status bg_copy_text(char **out, const char *text);
void bg_free(void *memory); /* takes NULL */

/* *out = a * b for non-negative counts; BG_E_RANGE when it does not fit int64_t. */
BG_MUST enum bg_status bg_product(int64_t a, int64_t b, int64_t *out);

/* Number of successful calls so far in this process (all threads), and fault injection:
 * the n-th call from now fails once (n = 1 is the next); 0 turns it off. */
uint64_t bg_alloc_calls(void);
void bg_alloc_fail_at(uint64_t n);

/* An arena: many allocations, one lifetime, one free. In debug builds (BG_DEBUG_ARENA) every
 * allocation is its own malloc so that AddressSanitizer sees overruns. */
struct bg_arena;
BG_MUST enum bg_status bg_arena_create(struct bg_arena **out, const char *name);
void bg_arena_destroy(struct bg_arena *arena); /* takes NULL */
/* As bg_alloc; the memory lives until the arena is destroyed. */
BG_MUST enum bg_status bg_arena_alloc(struct bg_arena *arena, void *out, int64_t count,
                                      size_t size);
BG_MUST enum bg_status bg_arena_text(struct bg_arena *arena, const char **out, const char *text);
int64_t bg_arena_bytes(const struct bg_arena *arena);

#endif
