/*
 * The layout prober's module: tells the addresses of BoringSSL's objects that Envoy shows to a
 * custom handshaker, and tries a place for the private-key method.
 *
 * Environment:
 *   MBK_PROBE_REPORT   file that lines are appended to
 *   MBK_PROBE_ABI      ABI version to return
 *   MBK_PROBE_OFFSETS  optional; five hexadecimal offsets in bytes: SSL_CTX -> CERT,
 *                      CERT -> credential, credential -> method (the one to try),
 *                      SSL -> SSL_CONFIG, SSL_CONFIG -> CERT
 *
 * Lines have a word and two addresses (0 where there is no second one):
 *   ctx SSL_CTX 0      a TLS context is ready
 *   ssl SSL 0          a connection is there
 *   table TABLE 0      with offsets: the module's method table was written to a credential
 *   sign SSL METHOD    with offsets: sign was called; METHOD is what the SSL's credential names
 */
#include <fcntl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))
#define SIGN_FAILED 2

enum { CTX_CERT, CERT_CRED, CRED_METHOD, SSL_TO_CONFIG, CONFIG_CERT, OFFSETS };

static unsigned long g_offsets[OFFSETS];
static bool g_has_offsets;

static void report(const char *what, uintptr_t first, uintptr_t second) {
    char line[96];
    const char *path = getenv("MBK_PROBE_REPORT");
    int length = snprintf(line, sizeof(line), "%s 0x%lx 0x%lx\n", what, (unsigned long)first,
                          (unsigned long)second);
    int file = path == NULL ? -1 : open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    if (file < 0) {
        return;
    }
    if (write(file, line, (size_t)length) != length) {
        fputs("layout probe: cannot write the report\n", stderr);
    }
    close(file);
}

/* Reads or writes a word of this process; a bad address is an error, not a crash. */
static bool access_word(uintptr_t address, uintptr_t *word, bool store) {
    int file = open("/proc/self/mem", O_RDWR | O_CLOEXEC);
    ssize_t done = -1;
    if (file < 0) {
        return false;
    }
    if (store) {
        done = pwrite(file, word, sizeof(*word), (off_t)address);
    } else {
        done = pread(file, word, sizeof(*word), (off_t)address);
    }
    close(file);
    return done == (ssize_t)sizeof(*word);
}

/* Follows the pointers at these offsets, one after the other; 0 when one cannot be read. */
static uintptr_t follow(uintptr_t address, const unsigned long *offsets, size_t count) {
    for (size_t i = 0; i < count; i++) {
        if (!access_word(address + offsets[i], &address, false)) {
            return 0;
        }
    }
    return address;
}

static int probe_sign(void *ssl, uint8_t *out, size_t *out_length, size_t out_size,
                      uint16_t algorithm, const uint8_t *in, size_t in_length) {
    const unsigned long path[] = {g_offsets[SSL_TO_CONFIG], g_offsets[CONFIG_CERT],
                                  g_offsets[CERT_CRED], g_offsets[CRED_METHOD]};
    (void)out;
    (void)out_length;
    (void)out_size;
    (void)algorithm;
    (void)in;
    (void)in_length;
    report("sign", (uintptr_t)ssl, follow((uintptr_t)ssl, path, sizeof(path) / sizeof(path[0])));
    return SIGN_FAILED;
}

static int probe_decrypt(void *ssl, uint8_t *out, size_t *out_length, size_t out_size,
                         const uint8_t *in, size_t in_length) {
    (void)ssl;
    (void)out;
    (void)out_length;
    (void)out_size;
    (void)in;
    (void)in_length;
    return SIGN_FAILED;
}

static int probe_complete(void *ssl, uint8_t *out, size_t *out_length, size_t out_size) {
    (void)ssl;
    (void)out;
    (void)out_length;
    (void)out_size;
    return SIGN_FAILED;
}

/* Laid out as SSL_PRIVATE_KEY_METHOD. */
static const struct {
    int (*sign)(void *, uint8_t *, size_t *, size_t, uint16_t, const uint8_t *, size_t);
    int (*decrypt)(void *, uint8_t *, size_t *, size_t, const uint8_t *, size_t);
    int (*complete)(void *, uint8_t *, size_t *, size_t);
} g_table = {probe_sign, probe_decrypt, probe_complete};

static void install(uintptr_t ssl_ctx) {
    uintptr_t credential = follow(ssl_ctx, g_offsets, CRED_METHOD);
    uintptr_t table = (uintptr_t)&g_table, old = 0;
    uintptr_t slot = credential + g_offsets[CRED_METHOD];
    if (credential != 0 && access_word(slot, &old, false) && old == 0 &&
        access_word(slot, &table, true)) {
        report("table", table, 0);
    }
}

EXPORT const char *envoy_dynamic_module_on_program_init(void) {
    const char *text = getenv("MBK_PROBE_OFFSETS");
    const char *version = getenv("MBK_PROBE_ABI");
    g_has_offsets = text != NULL && sscanf(text, "%lx %lx %lx %lx %lx", &g_offsets[CTX_CERT],
                                           &g_offsets[CERT_CRED], &g_offsets[CRED_METHOD],
                                           &g_offsets[SSL_TO_CONFIG],
                                           &g_offsets[CONFIG_CERT]) == OFFSETS;
    return version == NULL ? "unknown" : version;
}

/* Its parameters differ between Envoy versions; it looks at none, so that any shape does. */
EXPORT const void *envoy_dynamic_module_on_tls_handshaker_config_new(void) {
    return &g_table;
}

EXPORT void envoy_dynamic_module_on_tls_handshaker_config_destroy(const void *config) {
    (void)config;
}

EXPORT bool envoy_dynamic_module_on_tls_handshaker_configure_ssl_context(const void *config,
                                                                         void *ssl_ctx) {
    (void)config;
    if (g_has_offsets) {
        install((uintptr_t)ssl_ctx);
    }
    report("ctx", (uintptr_t)ssl_ctx, 0);
    return true;
}

EXPORT const void *envoy_dynamic_module_on_tls_handshaker_new(const void *config, void *ssl) {
    report("ssl", (uintptr_t)ssl, 0);
    return config;
}

EXPORT void envoy_dynamic_module_on_tls_handshaker_destroy(const void *handshaker) {
    (void)handshaker;
}
