/* error.h: how a failure travels: a status and one line of text.
 *
 * Functions that can fail return an nst_status and fill a struct nst_error
 * with "what is wrong, where", without the file's name, which the caller puts
 * before it.  The status is also the program's exit status.
 */
#ifndef NSTATE_LAYOUTS_ERROR_H
#define NSTATE_LAYOUTS_ERROR_H

#pragma GCC visibility push(default)

enum nst_status {
	NST_OK = 0,        /* done and good */
	NST_NO = 1,        /* the answer is no: differs, would be refused */
	NST_USAGE = 2,     /* wrong command line or arguments */
	NST_BAD_INPUT = 3, /* bad or unsupported input */
	NST_SYSTEM = 4,    /* I/O or system error */
};

struct nst_error {
	enum nst_status status;
	char text[480];
};

/* Fills e (which may be NULL) and returns status. */
enum nst_status nst_fail(struct nst_error *e, enum nst_status status,
			 const char *format, ...)
	__attribute__((format(printf, 3, 4)));

#pragma GCC visibility pop

#endif
