/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How a failure of the host travels: a negative errno value for the code, and
 * one sentence for the person.
 */
#ifndef HOST_ERROR_H
#define HOST_ERROR_H

struct error {
	char text[512]; /* one sentence, no newline, no final period */
};

/*
 * Write a sentence to err (which may be NULL) and return code, so that a
 * failing function can say `return error_set(err, -EINVAL, "...")`. Name the
 * value that was wrong and what would be right. Keeps the first sentence's
 * tail if it is too long.
 */
int error_set(struct error *err, int code, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* The same with `: strerror(-code)` appended. */
int error_set_errno(struct error *err, int code, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

#endif
