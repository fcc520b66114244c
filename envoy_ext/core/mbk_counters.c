#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "mbk_internal.h"

/*
 * All counters of the process. The table has pages of its own, so that publishing can map a
 * file over them and every worker's pointer stays good. Blocks are never freed: a new worker takes
 * over one of a worker that ended.
 */
typedef union stats_table {
    struct {
        mbk_stats_header header;
        mbk_stats_block blocks[MBK_STATS_WORKERS];
    };
    uint8_t pages[MBK_STATS_FILE_BYTES];
} stats_table;

static pthread_mutex_t g_lock = PTHREAD_MUTEX_INITIALIZER; /* worker start and end only */
static _Alignas(4096) stats_table g_table = {
    .header = {.magic = MBK_STATS_MAGIC, .version = MBK_STATS_VERSION}};
static bool g_taken[MBK_STATS_WORKERS];
static char *g_published;

mbk_stats_block *mbk_stats_take(void) {
    mbk_stats_block *stats = NULL;
    pthread_mutex_lock(&g_lock);
    for (uint32_t i = 0; i < MBK_STATS_WORKERS && stats == NULL; i++) {
        if (!g_taken[i]) {
            g_taken[i] = true;
            stats = &g_table.blocks[i];
            if (i >= g_table.header.workers) {
                __atomic_store_n(&g_table.header.workers, i + 1, __ATOMIC_RELEASE);
            }
        }
    }
    pthread_mutex_unlock(&g_lock);
    return stats;
}

void mbk_stats_give(mbk_stats_block *block) {
    pthread_mutex_lock(&g_lock);
    for (uint32_t i = 0; i < MBK_STATS_WORKERS; i++) {
        if (&g_table.blocks[i] == block) {
            g_taken[i] = false;
        }
    }
    pthread_mutex_unlock(&g_lock);
}

void mbk_stats_break_even(mbk_algorithm algorithm, unsigned lanes) {
    __atomic_store_n(&g_table.header.break_even[algorithm], (uint8_t)lanes, __ATOMIC_RELAXED);
}

void mbk_engine_count_key(mbk_engine *engine, bool hooked) {
    (void)engine;
    mbk_stats_header *header = &g_table.header;
    __atomic_fetch_add(hooked ? &header->keys_hooked : &header->keys_left, 1, __ATOMIC_RELAXED);
}

const mbk_stats_header *mbk_engine_stats_header(void) { return &g_table.header; }

/* Adds counters that their owner may be writing. */
static void add_words(void *sum, const void *words, size_t size) {
    uint64_t *to = sum;
    const uint64_t *from = words;
    for (size_t i = 0; i < size / sizeof(*to); i++) {
        to[i] += __atomic_load_n(&from[i], __ATOMIC_RELAXED);
    }
}

void mbk_engine_worker_stats(unsigned worker, mbk_stats *counters, mbk_gauges *gauges) {
    const mbk_stats_block *block = &g_table.blocks[worker];
    memset(counters, 0, sizeof(*counters));
    memset(gauges, 0, sizeof(*gauges));
    add_words(counters, &block->counters, sizeof(*counters));
    add_words(gauges, &block->gauges, sizeof(*gauges));
}

void mbk_engine_stats(const mbk_engine *engine, mbk_stats *out) {
    (void)engine;
    memset(out, 0, sizeof(*out));
    uint32_t workers = __atomic_load_n(&g_table.header.workers, __ATOMIC_ACQUIRE);
    for (uint32_t i = 0; i < workers; i++) {
        add_words(out, &g_table.blocks[i].counters, sizeof(*out));
    }
}

/* Replaces the table's pages by a file's with the same contents. */
static bool map_over(int file) {
    /* Counts that workers make between the two steps are lost; none exist before the first key. */
    return ftruncate(file, 0) == 0 && posix_fallocate(file, 0, sizeof(g_table)) == 0 &&
           pwrite(file, &g_table, sizeof(g_table), 0) == (ssize_t)sizeof(g_table) &&
           mmap(&g_table, sizeof(g_table), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, file,
                0) != MAP_FAILED;
}

mbk_status mbk_engine_publish_stats(mbk_engine *engine, const char *path) {
    (void)engine;
    if (g_published != NULL) {
        return strcmp(g_published, path) == 0 ? MBK_OK : MBK_ERR_INPUT;
    }
    char *kept = strdup(path);
    /* A restarted proxy starts the same file anew, so it may exist; a link is not followed. */
    int file = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    bool done = kept != NULL && file >= 0 && map_over(file);
    if (file >= 0) {
        close(file);
    }
    if (!done) {
        free(kept);
        return MBK_ERR_INPUT;
    }
    g_published = kept;
    return MBK_OK;
}
