#include "mbk_peek.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/uio.h>
#include <unistd.h>

static bool peek_mem_file(void *out, uintptr_t address, size_t size) {
    int file = open("/proc/self/mem", O_RDONLY | O_CLOEXEC);
    if (file < 0) {
        return false;
    }
    ssize_t got = pread(file, out, size, (off_t)address);
    close(file);
    return got >= 0 && (size_t)got == size;
}

bool mbk_peek(void *out, uintptr_t address, size_t size) {
    struct iovec local = {.iov_base = out, .iov_len = size};
    struct iovec remote = {.iov_base = (void *)address, .iov_len = size};
    ssize_t got = process_vm_readv(getpid(), &local, 1, &remote, 1, 0);
    if (got < 0 && errno != EFAULT) {
        return peek_mem_file(out, address, size);
    }
    return got >= 0 && (size_t)got == size;
}

bool mbk_peek_pointer(uintptr_t *out, uintptr_t address) {
    return mbk_peek(out, address, sizeof(*out)) && *out != 0 && (*out & 7) == 0;
}
