/* early.c: the vCPU part of fp/: its state is made and freed here.
 */
#include <stdlib.h>
#include "hvcore/fp/fp.h"

bool fp_decode(struct vcpu *c, const struct decode_ctx *x, struct insn *i)
{
	(void)c;
	(void)x;
	(void)i;
	return 0;
}

void fp_free_vcpu(struct vcpu *c)
{
	free(c->fp);
	c->fp = NULL;
}

void fp_init_vcpu(struct vcpu *c)
{
	c->fp = calloc(1, sizeof *c->fp);
	if (!c->fp)
		abort();
}
