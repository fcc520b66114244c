/* What the admin page shows. */
#ifndef MBK_REPORT_H
#define MBK_REPORT_H

#include <stdbool.h>

/* JSON, or lines of `name: value`. The caller frees it; NULL when out of memory. Main thread. */
char *mbk_report(bool json);

#endif
