#include "mbk_log.h"

#include <dlfcn.h>
#include <limits.h>
#include <link.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "mbk_abi.h"

static void write_line(int level, const char *format, va_list arguments) {
    char line[1024] = "multibuffer: ";
    size_t start = strlen(line);
    int length = vsnprintf(line + start, sizeof(line) - start, format, arguments);
    if (length >= 0) {
        mbk_abi_log(level, line, strlen(line));
    }
}

void mbk_log_info(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    write_line(MBK_LOG_INFO, format, arguments);
    va_end(arguments);
}

/* Warnings in one period; the rest is counted. Enough for every certificate of a large proxy. */
#define WARNINGS 200
#define PERIOD_SECONDS 60

static pthread_mutex_t g_warn_lock = PTHREAD_MUTEX_INITIALIZER;

/* Whether a warning may be written; `*left_out` were not in the period before. */
static bool may_warn(unsigned *left_out) {
    static time_t start;
    static unsigned count;
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    *left_out = 0;
    pthread_mutex_lock(&g_warn_lock);
    if (now.tv_sec - start >= PERIOD_SECONDS) {
        *left_out = count > WARNINGS ? count - WARNINGS : 0;
        start = now.tv_sec;
        count = 0;
    }
    bool may = ++count <= WARNINGS;
    pthread_mutex_unlock(&g_warn_lock);
    return may;
}

void mbk_log_warn(const char *format, ...) {
    unsigned left_out;
    if (!may_warn(&left_out)) {
        return;
    }
    if (left_out > 0) {
        mbk_log_info("%u warnings were left out of the log", left_out);
    }
    va_list arguments;
    va_start(arguments, format);
    write_line(MBK_LOG_WARN, format, arguments);
    va_end(arguments);
}

static char g_build_id[2 * 32 + 1];

static void hex(char *out, const unsigned char *bytes, size_t count) {
    for (size_t i = 0; i < count; i++) {
        snprintf(out + 2 * i, 3, "%02x", bytes[i]);
    }
}

/* Looks for NT_GNU_BUILD_ID among the notes of one segment. */
static int read_notes(const unsigned char *at, size_t size) {
    while (size >= sizeof(ElfW(Nhdr))) {
        ElfW(Nhdr) note;
        memcpy(&note, at, sizeof(note));
        size_t name = (note.n_namesz + 3u) & ~3u, body = (note.n_descsz + 3u) & ~3u;
        size_t whole = sizeof(note) + name + body;
        if (whole > size) {
            return 0;
        }
        const unsigned char *text = at + sizeof(note);
        if (note.n_type == NT_GNU_BUILD_ID && note.n_namesz == 4 &&
            memcmp(text, "GNU", 4) == 0 && note.n_descsz <= (sizeof(g_build_id) - 1) / 2) {
            hex(g_build_id, text + name, note.n_descsz);
            return 1;
        }
        at += whole;
        size -= whole;
    }
    return 0;
}

/* The first object is the program itself; whatever is returned ends the walk there. */
static int visit_program(struct dl_phdr_info *info, size_t size, void *unused) {
    (void)size;
    (void)unused;
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *segment = &info->dlpi_phdr[i];
        if (segment->p_type == PT_NOTE &&
            read_notes((const unsigned char *)(info->dlpi_addr + segment->p_vaddr),
                       segment->p_memsz) != 0) {
            break;
        }
    }
    return 1;
}

const char *mbk_build_id(void) {
    if (g_build_id[0] == '\0') {
        dl_iterate_phdr(visit_program, NULL);
        if (g_build_id[0] == '\0') {
            memcpy(g_build_id, "unknown", sizeof("unknown"));
        }
    }
    return g_build_id;
}

const char *mbk_module_dir(void) {
    static char folder[PATH_MAX];
    Dl_info info;
    if (folder[0] == '\0' && dladdr(folder, &info) != 0 && info.dli_fname != NULL) {
        snprintf(folder, sizeof(folder), "%s", info.dli_fname);
        char *slash = strrchr(folder, '/');
        if (slash == NULL) {
            folder[0] = '\0';
        } else {
            *slash = '\0';
        }
    }
    return folder[0] == '\0' ? NULL : folder;
}
