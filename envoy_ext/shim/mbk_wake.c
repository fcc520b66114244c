#include "mbk_wake.h"

#include <dirent.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "mbk_log.h"
#include "mbk_peek.h"

/* The class (vtable) of the IoHandle in which a descriptor was proven; 0: not yet. */
static _Atomic uintptr_t g_handle_class;
static atomic_bool g_failed;

static int option_of(int descriptor, int level, int name) {
    int value = -1;
    socklen_t size = sizeof(value);
    return getsockopt(descriptor, level, name, &value, &size) == 0 ? value : -1;
}

static bool is_tcp(int descriptor) {
    return option_of(descriptor, SOL_SOCKET, SO_PROTOCOL) == IPPROTO_TCP;
}

static bool is_unix_stream(int descriptor) {
    return option_of(descriptor, SOL_SOCKET, SO_DOMAIN) == AF_UNIX &&
           option_of(descriptor, SOL_SOCKET, SO_TYPE) == SOCK_STREAM;
}

/* Whether the epoll of this name in /proc/self/fdinfo watches the descriptor. */
static bool epoll_watches(const char *epoll, int descriptor) {
    char path[64], line[256];
    bool found = false;
    if (snprintf(path, sizeof(path), "/proc/self/fdinfo/%s", epoll) >= (int)sizeof(path)) {
        return false;
    }
    FILE *file = fopen(path, "re");
    while (file != NULL && !found && fgets(line, sizeof(line), file) != NULL) {
        found = strncmp(line, "tfd:", 4) == 0 && strtol(line + 4, NULL, 10) == descriptor;
    }
    if (file != NULL) {
        fclose(file);
    }
    return found;
}

static bool is_watched(int descriptor) {
    DIR *folder = opendir("/proc/self/fdinfo");
    bool found = false;
    struct dirent *entry = NULL;
    while (folder != NULL && !found && (entry = readdir(folder)) != NULL) {
        found = entry->d_name[0] != '.' && epoll_watches(entry->d_name, descriptor);
    }
    if (folder != NULL) {
        closedir(folder);
    }
    return found;
}

/* With reads that cannot fault; remembers the handle's class when all is well. */
static int prove(const mbk_layout *layout, uintptr_t ssl) {
    uintptr_t bio = 0, handle = 0, class = 0;
    int descriptor = -1;
    if (mbk_peek_pointer(&bio, ssl + layout->ssl_bio) &&
        mbk_peek_pointer(&handle, bio + layout->bio_data) && mbk_peek_pointer(&class, handle) &&
        mbk_peek(&descriptor, handle + layout->io_fd, sizeof(descriptor)) &&
        (is_tcp(descriptor) || is_unix_stream(descriptor)) && is_watched(descriptor)) {
        atomic_store(&g_handle_class, class);
        return descriptor;
    }
    if (!atomic_exchange(&g_failed, true)) {
        mbk_log_info("the sockets of this Envoy's connections are not found: operations are done "
                     "one at a time, at once");
    }
    return -1;
}

int mbk_wake_descriptor(const mbk_layout *layout, uintptr_t ssl) {
    uintptr_t class = atomic_load_explicit(&g_handle_class, memory_order_relaxed);
    if (class == 0) {
        return atomic_load(&g_failed) ? -1 : prove(layout, ssl);
    }
    uintptr_t bio = mbk_word_at(ssl + layout->ssl_bio);
    uintptr_t handle = bio == 0 ? 0 : mbk_word_at(bio + layout->bio_data);
    if (handle == 0 || mbk_word_at(handle) != class) {
        return -1;
    }
    return *(const int *)(handle + layout->io_fd);
}

/* Setting an option to the value that it has changes nothing, but the kernel then calls the
 * socket's write-space hook, which reports it to whoever polls it (Linux: tcp_setsockopt,
 * sk_setsockopt). */
bool mbk_wake(int descriptor) {
    int value = option_of(descriptor, IPPROTO_TCP, TCP_NOTSENT_LOWAT);
    if (value >= 0) {
        return setsockopt(descriptor, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &value, sizeof(value)) == 0;
    }
    /* Not for TCP: it would end the tuning of the buffer's size. The kernel doubles the value. */
    value = option_of(descriptor, SOL_SOCKET, SO_SNDBUF) / 2;
    return is_unix_stream(descriptor) && value > 0 &&
           setsockopt(descriptor, SOL_SOCKET, SO_SNDBUF, &value, sizeof(value)) == 0;
}
