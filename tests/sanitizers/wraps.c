/*
 * Functions that stand before the engine's own (the linker's --wrap): they count, and refuse
 * when told to.
 */
#include <stdatomic.h>

#include "driver.h"

void *__real_mbk_locked_alloc(size_t size);
void __real_mbk_locked_free(void *memory, size_t size);
void __real_mbk_worker_expect(mbk_worker *worker, size_t operations);
void *__wrap_mbk_locked_alloc(size_t size);
void __wrap_mbk_locked_free(void *memory, size_t size);
void __wrap_mbk_worker_expect(mbk_worker *worker, size_t operations);

static atomic_size_t g_blocks;
static _Thread_local bool t_refuse;
static _Thread_local size_t t_expected;

void refuse_pages(bool refuse) { t_refuse = refuse; }

/* Relaxed, so that counting orders nothing between the threads that are being watched. */
size_t locked_blocks(void) { return atomic_load_explicit(&g_blocks, memory_order_relaxed); }

size_t last_expected(void) { return t_expected; }

void *__wrap_mbk_locked_alloc(size_t size) {
    void *memory = t_refuse ? NULL : __real_mbk_locked_alloc(size);
    if (memory != NULL) {
        atomic_fetch_add_explicit(&g_blocks, 1, memory_order_relaxed);
    }
    return memory;
}

void __wrap_mbk_locked_free(void *memory, size_t size) {
    if (memory != NULL) {
        atomic_fetch_sub_explicit(&g_blocks, 1, memory_order_relaxed);
    }
    __real_mbk_locked_free(memory, size);
}

void __wrap_mbk_worker_expect(mbk_worker *worker, size_t operations) {
    t_expected = operations;
    __real_mbk_worker_expect(worker, operations);
}
