/* error.c: fills a struct nst_error. */
#include "layouts/error.h"

#include <stdarg.h>
#include <stdio.h>

enum nst_status nst_fail(struct nst_error *e, enum nst_status status,
			 const char *format, ...)
{
	va_list ap;

	if (!e)
		return status;
	e->status = status;
	va_start(ap, format);
	vsnprintf(e->text, sizeof e->text, format, ap);
	va_end(ap);
	return status;
}
