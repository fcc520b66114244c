/*
 * The only program of the init image: copies the regular files of one folder to another, each
 * under a temporary name first, so that a proxy that starts too early never maps half a library.
 * Usage: mbk-copy FROM TO. Exit status 1 and one line on stderr when something cannot be copied.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static bool copy_bytes(int from, int to) {
    static char buffer[1 << 16];
    ssize_t count;
    while ((count = read(from, buffer, sizeof(buffer))) > 0) {
        for (ssize_t done = 0; done < count;) {
            ssize_t written = write(to, buffer + done, (size_t)(count - done));
            if (written < 0) {
                return false;
            }
            done += written;
        }
    }
    return count == 0;
}

static bool copy_to(int source, mode_t mode, int folder, const char *name) {
    char partial[NAME_MAX + 1];
    if (snprintf(partial, sizeof(partial), ".%s.part", name) >= (int)sizeof(partial)) {
        errno = ENAMETOOLONG;
        return false;
    }
    int target = openat(folder, partial, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW, 0600);
    if (target < 0) {
        return false;
    }
    bool copied = copy_bytes(source, target) && fchmod(target, mode & 0755) == 0;
    copied = close(target) == 0 && copied;
    if (copied && renameat(folder, partial, folder, name) == 0) {
        return true;
    }
    int reason = errno;
    unlinkat(folder, partial, 0);
    errno = reason;
    return false;
}

static bool copy_file(int from, int to, const char *name) {
    int source = openat(from, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
    struct stat facts;
    if (source < 0 || fstat(source, &facts) != 0) {
        return false;
    }
    bool copied = !S_ISREG(facts.st_mode) || copy_to(source, facts.st_mode, to, name);
    close(source);
    return copied;
}

static int failed(const char *what) {
    fprintf(stderr, "mbk-copy: %s: %s\n", what, strerror(errno));
    return 1;
}

int main(int count, char **arguments) {
    if (count != 3) {
        fputs("usage: mbk-copy FROM TO\n", stderr);
        return 2;
    }
    int to = open(arguments[2], O_RDONLY | O_DIRECTORY);
    DIR *from = opendir(arguments[1]);
    if (to < 0 || from == NULL) {
        return failed(to < 0 ? arguments[2] : arguments[1]);
    }
    const struct dirent *entry;
    while ((entry = readdir(from)) != NULL) {
        if (entry->d_name[0] != '.' && !copy_file(dirfd(from), to, entry->d_name)) {
            return failed(entry->d_name);
        }
    }
    closedir(from);
    close(to);
    return 0;
}
