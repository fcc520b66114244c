/* Private keys as numbers, from a text file. */
#ifndef KEYFILE_H
#define KEYFILE_H

#include "mbk_engine.h"

#define KEYS_MAX 32
#define KEY_NUMBERS 8

/*
 * One line a key: "rsa N E D P Q DMP1 DMQ1 IQMP", "p256 D" or "p384 D", in hexadecimal. The
 * number of the line, from 0, is the key's number.
 */
typedef struct key_numbers {
    bool rsa;
    mbk_algorithm algorithm; /* of an EC key */
    uint64_t limbs[KEY_NUMBERS][MBK_MAX_BYTES / 8];
    size_t width[KEY_NUMBERS];
} key_numbers;

/* Reads the file; returns how many keys there are. */
unsigned keyfile_read(const char *path, key_numbers keys[KEYS_MAX]);

mbk_status keyfile_load(mbk_engine *engine, const key_numbers *numbers, mbk_policy policy,
                        mbk_key **out);

#endif
