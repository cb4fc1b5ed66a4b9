/* SPDX-License-Identifier: BSD-3-Clause */
/* The VM's numbers in the text format that Prometheus reads. */
#ifndef API_METRICS_H
#define API_METRICS_H

#include "vmm/vmm.h"

#define METRICS_CONTENT_TYPE "text/plain; version=0.0.4; charset=utf-8"

/* To be freed by the caller. NULL: no memory. */
char *metrics_text(const struct vm_status *status);

#endif
