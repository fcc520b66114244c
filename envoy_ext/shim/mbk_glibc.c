/*
 * Keeps the module loadable on older systems than the one it was built on: glibc 2.38's
 * headers turn strtol and its kin into new symbols, which the static JSON library then
 * wants. These hidden definitions give it the old ones.
 */
#include <stdarg.h>

#define OLD(type, name)                                                                            \
    extern type old_##name(const char *, char **, int) __asm__(#name);                             \
    type __isoc23_##name(const char *text, char **end, int base);                                  \
    type __isoc23_##name(const char *text, char **end, int base) {                                 \
        return old_##name(text, end, base);                                                        \
    }

OLD(long, strtol)
OLD(long long, strtoll)
OLD(unsigned long, strtoul)
OLD(unsigned long long, strtoull)

extern int old_vsscanf(const char *, const char *, va_list) __asm__("vsscanf");
int __isoc23_sscanf(const char *text, const char *format, ...);
int __isoc23_sscanf(const char *text, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    int count = old_vsscanf(text, format, arguments);
    va_end(arguments);
    return count;
}
