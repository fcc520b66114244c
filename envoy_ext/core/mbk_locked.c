#include "mbk_locked.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define PAGE ((size_t)4096)

void mbk_wipe(void *memory, size_t size) {
    memset(memory, 0, size);
    __asm__ __volatile__("" : : "r"(memory) : "memory");
}

static size_t round_to_pages(size_t size) { return (size + PAGE - 1) & ~(PAGE - 1); }

static bool lock_pages(void *memory, size_t size) {
    return madvise(memory, size, MADV_DONTDUMP) == 0 && mlock(memory, size) == 0;
}

void *mbk_locked_alloc(size_t size) {
    size_t bytes = round_to_pages(size);
    if (size == 0 || bytes < size) {
        return NULL;
    }
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) {
        return NULL;
    }
    if (!lock_pages(memory, bytes)) {
        munmap(memory, bytes);
        return NULL;
    }
    return memory;
}

void mbk_locked_free(void *memory, size_t size) {
    if (memory == NULL) {
        return;
    }
    size_t bytes = round_to_pages(size);
    mbk_wipe(memory, bytes);
    munmap(memory, bytes);
}

/*
 * The heap. One address range is reserved for the process; spans of it (16 KiB, or one block
 * where that is larger) are locked when a thread first needs a block of that size class and
 * stay with that thread's heap. A block freed by another thread goes onto a lock-free stack
 * that the owner empties. A finished thread's heap is taken over by the next new thread.
 */
#define REGION_BYTES ((size_t)64 << 20)
#define REGION_PAGES (REGION_BYTES / PAGE)
#define SPAN_BYTES ((size_t)4 * PAGE)
#define MIN_SHIFT 5u /* 32-byte blocks, so that every block is 16-byte aligned */
#define CLASSES 12u  /* 32 bytes .. 64 KiB */

typedef struct free_block {
    struct free_block *next;
} free_block;

typedef struct heap {
    free_block *free[CLASSES];
    _Atomic(free_block *) remote; /* freed by other threads, any class */
    struct heap *next_idle;
} heap;

typedef struct page_entry {
    heap *owner;
    unsigned size_class;
} page_entry;

static pthread_mutex_t g_lock = PTHREAD_MUTEX_INITIALIZER; /* spans and idle heaps only */
static pthread_once_t g_once = PTHREAD_ONCE_INIT;
static pthread_key_t g_thread_end;
static char *g_region;
static size_t g_region_used;
static page_entry g_pages[REGION_PAGES];
static heap *g_idle;
static atomic_size_t g_refusals;

static _Thread_local heap *t_heap;
static _Thread_local unsigned t_secret;

static void thread_ended(void *value) {
    heap *mine = value;
    pthread_mutex_lock(&g_lock);
    mine->next_idle = g_idle;
    g_idle = mine;
    pthread_mutex_unlock(&g_lock);
    t_heap = NULL;
}

static void reserve_region(void) {
    void *memory = mmap(NULL, REGION_BYTES, PROT_NONE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory != MAP_FAILED && pthread_key_create(&g_thread_end, thread_ended) == 0) {
        g_region = memory;
    }
}

void mbk_secret_begin(void) { t_secret++; }
void mbk_secret_end(void) { t_secret--; }

bool mbk_heap_owns(const void *block) {
    uintptr_t address = (uintptr_t)block;
    uintptr_t base = (uintptr_t)g_region;
    return base != 0 && address >= base && address < base + REGION_BYTES;
}

size_t mbk_heap_refusals(void) {
    return atomic_load_explicit(&g_refusals, memory_order_relaxed);
}

static page_entry *entry_of(const void *block) {
    return &g_pages[((uintptr_t)block - (uintptr_t)g_region) / PAGE];
}

static size_t class_bytes(unsigned size_class) { return (size_t)1 << (size_class + MIN_SHIFT); }

static unsigned class_of(size_t size) {
    unsigned size_class = 0;
    while (size_class < CLASSES && class_bytes(size_class) < size) {
        size_class++;
    }
    return size_class;
}

static heap *thread_heap(void) {
    if (t_heap != NULL) {
        return t_heap;
    }
    pthread_once(&g_once, reserve_region);
    if (g_region == NULL) {
        return NULL;
    }
    pthread_mutex_lock(&g_lock);
    heap *mine = g_idle;
    if (mine != NULL) {
        g_idle = mine->next_idle;
    }
    pthread_mutex_unlock(&g_lock);
    if (mine == NULL) {
        mine = calloc(1, sizeof(*mine));
    }
    if (mine != NULL && pthread_setspecific(g_thread_end, mine) != 0) {
        thread_ended(mine);
        mine = NULL;
    }
    t_heap = mine;
    return mine;
}

static void push(heap *mine, free_block *block, unsigned size_class) {
    block->next = mine->free[size_class];
    mine->free[size_class] = block;
}

/* Takes the next span from the region and locks it; NULL when that is refused. */
static char *take_span(size_t bytes) {
    char *span = NULL;
    pthread_mutex_lock(&g_lock);
    if (g_region_used + bytes <= REGION_BYTES) {
        char *candidate = g_region + g_region_used;
        if (mprotect(candidate, bytes, PROT_READ | PROT_WRITE) == 0 &&
            lock_pages(candidate, bytes)) {
            span = candidate;
            g_region_used += bytes;
        }
    }
    pthread_mutex_unlock(&g_lock);
    return span;
}

static bool add_span(heap *mine, unsigned size_class) {
    size_t block = class_bytes(size_class);
    size_t bytes = block > SPAN_BYTES ? block : SPAN_BYTES;
    char *span = take_span(bytes);
    if (span == NULL) {
        return false;
    }
    for (size_t at = 0; at < bytes; at += PAGE) {
        *entry_of(span + at) = (page_entry){.owner = mine, .size_class = size_class};
    }
    for (size_t at = 0; at < bytes; at += block) {
        push(mine, (free_block *)(void *)(span + at), size_class);
    }
    return true;
}

static void collect_remote(heap *mine) {
    free_block *block = atomic_exchange_explicit(&mine->remote, NULL, memory_order_acquire);
    while (block != NULL) {
        free_block *next = block->next;
        push(mine, block, entry_of(block)->size_class);
        block = next;
    }
}

static void *heap_take(size_t size) {
    unsigned size_class = class_of(size);
    heap *mine = thread_heap();
    if (mine == NULL || size_class == CLASSES) {
        return NULL;
    }
    if (mine->free[size_class] == NULL) {
        collect_remote(mine);
    }
    if (mine->free[size_class] == NULL && !add_span(mine, size_class)) {
        return NULL;
    }
    free_block *block = mine->free[size_class];
    mine->free[size_class] = block->next;
    return block;
}

static void heap_give(void *memory) {
    page_entry *entry = entry_of(memory);
    mbk_wipe(memory, class_bytes(entry->size_class));
    free_block *block = memory;
    if (entry->owner == t_heap) {
        push(t_heap, block, entry->size_class);
        return;
    }
    free_block *head = atomic_load_explicit(&entry->owner->remote, memory_order_relaxed);
    do {
        block->next = head;
    } while (!atomic_compare_exchange_weak_explicit(&entry->owner->remote, &head, block,
                                                    memory_order_release, memory_order_relaxed));
}

void *mbk_heap_malloc(size_t size, const char *file, int line) {
    (void)file;
    (void)line;
    if (t_secret == 0) {
        return malloc(size);
    }
    if (size == 0) {
        return NULL;
    }
    void *block = heap_take(size);
    if (block == NULL) {
        atomic_fetch_add_explicit(&g_refusals, 1, memory_order_relaxed);
    }
    return block;
}

void *mbk_heap_realloc(void *block, size_t size, const char *file, int line) {
    if (block == NULL) {
        return mbk_heap_malloc(size, file, line);
    }
    if (!mbk_heap_owns(block)) {
        return realloc(block, size);
    }
    if (size == 0) {
        heap_give(block);
        return NULL;
    }
    size_t room = class_bytes(entry_of(block)->size_class);
    if (size <= room) {
        return block;
    }
    void *larger = heap_take(size);
    if (larger != NULL) {
        memcpy(larger, block, room);
        heap_give(block);
    }
    return larger;
}

void mbk_heap_free(void *block, const char *file, int line) {
    (void)file;
    (void)line;
    if (block == NULL) {
        return;
    }
    if (mbk_heap_owns(block)) {
        heap_give(block);
        return;
    }
    free(block);
}
