/* SPDX-License-Identifier: BSD-3-Clause */
/* Raw mode of a terminal, restored whatever happens. */
#ifndef VMM_TERMINAL_H
#define VMM_TERMINAL_H

#include <sys/types.h>
#include <termios.h>

struct terminal {
	int fd;		       /* -1: not in raw mode */
	struct termios before; /* what to restore */
	pid_t guardian;	       /* puts it back if we die */
	int guardian_pipe;     /* its end of life is ours */
};

/* Put fd into raw mode if it is a terminal; otherwise do nothing. Forks: call
 * it before any thread is started. 0 or a negative errno value. */
int terminal_raw(struct terminal *term, int fd);

/* Restore; may be called twice. */
void terminal_restore(struct terminal *term);

#endif
