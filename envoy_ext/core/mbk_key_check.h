/* The algebra that decides whether numbers are a key. Runs once per key, not per operation. */
#ifndef MBK_KEY_CHECK_H
#define MBK_KEY_CHECK_H

#include "mbk_internal.h"

/*
 * RSA: checks that the key's numbers agree. EC: checks that d is in range and fills in the public
 * point. MBK_OK, MBK_ERR_KEY_NUMBERS or MBK_ERR_MEMORY.
 */
mbk_status mbk_key_check(mbk_key *key);

#endif
