/* Reads of this process's own memory that fail instead of faulting. */
#ifndef MBK_PEEK_H
#define MBK_PEEK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Copies `size` bytes from `address`; false when any of them cannot be read. Uses
 * process_vm_readv, and /proc/self/mem where a seccomp profile refuses that.
 */
bool mbk_peek(void *out, uintptr_t address, size_t size);

/* The word at an address that is known to be good. */
static inline uintptr_t mbk_word_at(uintptr_t address) { return *(const uintptr_t *)address; }

/* The pointer stored at `address`. False also when it is NULL or not 8-byte aligned. */
bool mbk_peek_pointer(uintptr_t *out, uintptr_t address);

#endif
