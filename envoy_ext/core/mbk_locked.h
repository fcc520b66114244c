/*
 * Memory for secrets: locked, left out of core dumps, wiped when released.
 *
 * Two layers. mbk_locked_pages: whole pages, for keys and workers. mbk_heap:
 * small blocks for OpenSSL's temporaries, one heap per thread, so that an
 * operation in steady state neither calls malloc nor takes a lock.
 */
#ifndef MBK_LOCKED_H
#define MBK_LOCKED_H

#include <stdbool.h>
#include <stddef.h>

/* Overwrites memory in a way that the compiler may not remove. */
void mbk_wipe(void *memory, size_t size);

/* Zeroed pages of at least `size` bytes, or NULL (locking refused, no memory). */
void *mbk_locked_alloc(size_t size);
/* Wipes and unmaps; `size` as allocated. NULL is allowed. */
void mbk_locked_free(void *memory, size_t size);

/*
 * While a thread is between begin and end (they nest), mbk_heap_malloc serves it
 * from its locked heap instead of malloc.
 */
void mbk_secret_begin(void);
void mbk_secret_end(void);

/* The allocator handed to OpenSSL. Blocks may be freed by any thread. */
void *mbk_heap_malloc(size_t size, const char *file, int line);
void *mbk_heap_realloc(void *block, size_t size, const char *file, int line);
void mbk_heap_free(void *block, const char *file, int line);

/* True for a block of the locked heap (tests). */
bool mbk_heap_owns(const void *block);

/* Allocations that found no locked memory and failed (tests, statistics). */
size_t mbk_heap_refusals(void);

#endif
