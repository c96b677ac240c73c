/* The allocator behind the whole library, and arenas on top of it.
 *
 * Every request passes `admit`, which checks its size, applies fault injection and counts; so an
 * arena allocation counts the same in release builds (cut from a block) and in debug builds (a
 * malloc of its own). Memory is always zeroed: nothing ever depends on what was there before. */
#define _DEFAULT_SOURCE /* madvise */
#include "core/mem.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* Sanitizers refuse requests above 2^40 bytes with a report; ours stop below with a sentence. */
#define BYTES_MAX   ((size_t)1 << 39)
#define BLOCK_BYTES ((size_t)1 << 20)
/* Requests from here on begin on a huge page and ask for such pages: fewer misses of the TLB. */
#define HUGE_PAGE ((size_t)1 << 21)
#define HUGE_FROM (2 * HUGE_PAGE)

static _Atomic uint64_t calls;
static _Atomic uint64_t fail_countdown;

uint64_t bg_alloc_calls(void)
{
    return atomic_load(&calls);
}

void bg_alloc_fail_at(uint64_t n)
{
    atomic_store(&fail_countdown, n);
}

/* True for the one call that fault injection has chosen. */
static int chosen_to_fail(void)
{
    uint64_t left = atomic_load(&fail_countdown);

    while (left != 0)
        if (atomic_compare_exchange_weak(&fail_countdown, &left, left - 1))
            return left == 1;
    return 0;
}

/* *bytes = count * size for a request that may go ahead. */
static enum bg_status admit(int64_t count, size_t size, size_t *bytes)
{
    *bytes = 0;
    if (count < 0)
        return bg_fail(BG_E_RANGE, "allocation of %lld items: a count cannot be negative",
                       (long long)count);
    if (size != 0 && (uint64_t)count > BYTES_MAX / size)
        return bg_fail(BG_E_NOMEM, "out of memory: %lld items of %zu bytes are above %zu bytes",
                       (long long)count, size, BYTES_MAX);
    *bytes = (size_t)count * size;
    if (*bytes != 0 && chosen_to_fail())
        return bg_fail(BG_E_NOMEM, "out of memory: no %zu bytes (injected fault)", *bytes);
    return BG_OK;
}

static void *take(size_t bytes)
{
    const bool huge = bytes >= HUGE_FROM;
    void *memory = NULL;

    if (posix_memalign(&memory, huge ? HUGE_PAGE : BG_ALIGN, bytes) != 0) {
        (void)bg_fail(BG_E_NOMEM, "out of memory: no %zu bytes", bytes);
        return NULL;
    }
    if (huge)
        (void)madvise(memory, bytes, MADV_HUGEPAGE); /* a wish */
    memset(memory, 0, bytes);
    return memory;
}

/* Callers' pointers have any type; writing them through void ** would break the aliasing rules. */
static void store_pointer(void *out, void *memory)
{
    memcpy(out, &memory, sizeof memory);
}

enum bg_status bg_alloc(void *out, int64_t count, size_t size)
{
    enum bg_status rc = BG_OK;
    size_t bytes = 0;
    void *memory = NULL;

    store_pointer(out, NULL);
    TRY(admit(count, size, &bytes));
    if (bytes == 0)
        goto out;
    memory = take(bytes);
    if (memory == NULL) {
        rc = BG_E_NOMEM;
        goto out;
    }
    atomic_fetch_add(&calls, 1);
    store_pointer(out, memory);
out:
    return rc;
}

enum bg_status bg_grow(void *out, int64_t old_count, int64_t new_count, size_t size)
{
    enum bg_status rc = BG_OK;
    void *old = NULL, *memory = NULL;
    int64_t kept = old_count < new_count ? old_count : new_count;

    memcpy(&old, out, sizeof old);
    TRY(bg_alloc(&memory, new_count, size));
    if (old != NULL && memory != NULL && kept > 0)
        memcpy(memory, old, (size_t)kept * size);
    bg_free(old);
    store_pointer(out, memory);
out:
    return rc;
}

enum bg_status bg_copy_text(char **out, const char *text)
{
    enum bg_status rc = BG_OK;
    size_t bytes;

    *out = NULL;
    if (text == NULL)
        goto out;
    bytes = strlen(text) + 1;
    TRY(bg_alloc(out, (int64_t)bytes, 1));
    memcpy(*out, text, bytes);
out:
    return rc;
}

void bg_free(void *memory)
{
    free(memory);
}

enum bg_status bg_product(int64_t a, int64_t b, int64_t *out)
{
    *out = 0;
    if (a < 0 || b < 0)
        return bg_fail(BG_E_RANGE, "product %lld x %lld: counts cannot be negative", (long long)a,
                       (long long)b);
    if (b != 0 && a > INT64_MAX / b)
        return bg_fail(BG_E_RANGE, "product %lld x %lld does not fit 64 bits", (long long)a,
                       (long long)b);
    *out = a * b;
    return BG_OK;
}

struct block {
    struct block *next;
    char *memory;
    size_t used, size;
};

#define NAME_ROOM 32

struct bg_arena {
    struct block *blocks; /* newest first; only the newest is cut from */
    int64_t bytes;
    char name[NAME_ROOM];
};

enum bg_status bg_arena_create(struct bg_arena **out, const char *name)
{
    enum bg_status rc = BG_OK;
    size_t length = strlen(name);

    TRY(bg_alloc(out, 1, sizeof **out));
    if (length >= NAME_ROOM)
        length = NAME_ROOM - 1;
    memcpy((*out)->name, name, length);
out:
    return rc;
}

void bg_arena_destroy(struct bg_arena *arena)
{
    if (arena == NULL)
        return;
    while (arena->blocks != NULL) {
        struct block *block = arena->blocks;
        arena->blocks = block->next;
        free(block->memory);
        free(block);
    }
    bg_free(arena);
}

static enum bg_status add_block(struct bg_arena *arena, size_t bytes)
{
    struct block *block = take(sizeof *block);

    if (block == NULL)
        return BG_E_NOMEM;
    block->size = bytes;
    block->memory = take(bytes);
    if (block->memory == NULL) {
        free(block);
        return BG_E_NOMEM;
    }
    block->next = arena->blocks;
    arena->blocks = block;
    return BG_OK;
}

static size_t rounded_up(size_t bytes)
{
    return (bytes + BG_ALIGN - 1) / BG_ALIGN * BG_ALIGN;
}

/* Makes room for `bytes` in the newest block. Debug builds start a block of exactly this size. */
static enum bg_status make_room(struct bg_arena *arena, size_t bytes)
{
#ifdef BG_DEBUG_ARENA
    return add_block(arena, bytes);
#else
    const struct block *block = arena->blocks;

    if (block != NULL && block->size - block->used >= rounded_up(bytes))
        return BG_OK;
    return add_block(arena, rounded_up(bytes) > BLOCK_BYTES ? rounded_up(bytes) : BLOCK_BYTES);
#endif
}

enum bg_status bg_arena_alloc(struct bg_arena *arena, void *out, int64_t count, size_t size)
{
    enum bg_status rc = BG_OK;
    size_t bytes = 0;

    store_pointer(out, NULL);
    TRY(admit(count, size, &bytes));
    if (bytes == 0)
        goto out;
    TRY(make_room(arena, bytes));
    atomic_fetch_add(&calls, 1);
    store_pointer(out, arena->blocks->memory + arena->blocks->used);
    arena->blocks->used += rounded_up(bytes);
    arena->bytes += (int64_t)rounded_up(bytes);
out:
    if (rc != BG_OK)
        (void)bg_fail_prefix(rc, "%s memory: ", arena->name);
    return rc;
}

enum bg_status bg_arena_text(struct bg_arena *arena, const char **out, const char *text)
{
    enum bg_status rc = BG_OK;
    size_t bytes = strlen(text) + 1;
    char *copy = NULL;

    *out = NULL;
    TRY(bg_arena_alloc(arena, &copy, (int64_t)bytes, 1));
    memcpy(copy, text, bytes);
    *out = copy;
out:
    return rc;
}

int64_t bg_arena_bytes(const struct bg_arena *arena)
{
    return arena->bytes;
}
