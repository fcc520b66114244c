/*
 * Wakes a connection whose operation is queued.
 *
 * Envoy drives a handshake that waits for its private key when the connection's socket is reported
 * writable. Its own re-registration of the socket, when it stops reading, usually brings that
 * about; it does not where something else (tcp_proxy that connects upstream, a full
 * buffer) had stopped reading before. So the module asks the kernel for the report itself.
 */
#ifndef MBK_WAKE_H
#define MBK_WAKE_H

#include <stdbool.h>
#include <stdint.h>

#include "mbk_layout.h"

/*
 * The descriptor of the connection's socket, or -1 where mbk_wake could not wake it: another
 * kind of socket than TCP or Unix, one that no epoll watches, a handle of a kind not seen
 * before. The layout's path to `ssl`'s credential must have been proven. Any thread.
 */
int mbk_wake_descriptor(const mbk_layout *layout, uintptr_t ssl);

/*
 * Makes the next epoll_wait of the thread that watches the socket report it writable, once.
 * False: it will not.
 */
bool mbk_wake(int descriptor);

#endif
