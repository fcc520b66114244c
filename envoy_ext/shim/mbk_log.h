/* Lines in Envoy's log, and the identity of the running Envoy. */
#ifndef MBK_LOG_H
#define MBK_LOG_H

/*
 * printf-style; each line starts with "multibuffer: " and is cut at 1 KiB. Any thread. Warnings
 * beyond 200 a minute are only counted.
 */
void mbk_log_info(const char *format, ...) __attribute__((format(printf, 1, 2)));
void mbk_log_warn(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* GNU build-id of the running program in hexadecimal, or "unknown". Static storage. */
const char *mbk_build_id(void);

/* Folder from which this module was loaded, or NULL. Static storage. */
const char *mbk_module_dir(void);

#endif
