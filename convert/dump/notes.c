/* notes.c: CORE (prstatus), QEMU (QEMUCPUState) and VMCOREINFO notes.
 *
 * These hold general registers, segments and control registers; EFER, MSRs, FPU
 * and nested state are in no dump.
 */
#include "convert/dump/notes.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "convert/bytes.h"

#define MAX_CPUS 4096u
enum { PRSTATUS64 = 336, PRSTATUS32 = 144, QEMU_STATE = 432 };
#define EFER_LME (1ull << 8)
#define EFER_LMA (1ull << 10)
#define CR0_PG (1ull << 31)

static struct snapshot_vcpu *cpu(struct dump_cpus *d, uint32_t i)
{
	if (i >= MAX_CPUS)
		return NULL;
	if (i >= d->n) {
		struct snapshot_vcpu *v = realloc(d->v, (i + 1) * sizeof *v);
		if (!v)
			return NULL;
		memset(v + d->n, 0, (i + 1 - d->n) * sizeof *v);
		d->v = v;
		d->n = i + 1;
	}
	return &d->v[i];
}

static void prstatus64(struct snapshot_vcpu *v, const uint8_t *p)
{
	struct kvm_regs *r = &v->regs;
	__u64 *const to[19] = {
		&r->r15, &r->r14, &r->r13, &r->r12, &r->rbp, &r->rbx, &r->r11,
		&r->r10, &r->r9, &r->r8, &r->rax, &r->rcx, &r->rdx, &r->rsi,
		&r->rdi, NULL, &r->rip, NULL, &r->rflags,
	};

	for (unsigned i = 0; i < 19; i++)
		if (to[i])
			*to[i] = le_at(p + 112 + 8 * i, 8);
	r->rsp = le_at(p + 112 + 8 * 19, 8);
	v->have |= 1u << SN_REGS;
}

static void prstatus32(struct snapshot_vcpu *v, const uint8_t *p)
{
	struct kvm_regs *r = &v->regs;

	/* ebx ecx edx esi edi ebp eax ds es fs gs orig eip cs eflags esp ss */
	r->rbx = le_at(p + 72, 4);
	r->rcx = le_at(p + 76, 4);
	r->rdx = le_at(p + 80, 4);
	r->rsi = le_at(p + 84, 4);
	r->rdi = le_at(p + 88, 4);
	r->rbp = le_at(p + 92, 4);
	r->rax = le_at(p + 96, 4);
	r->rip = le_at(p + 120, 4);
	r->rflags = le_at(p + 128, 4);
	r->rsp = le_at(p + 132, 4);
	v->have |= 1u << SN_REGS;
}

static struct kvm_segment segment(const uint8_t *p)
{
	uint32_t f = (uint32_t)le_at(p + 8, 4);

	return (struct kvm_segment){
		.selector = (uint16_t)le_at(p, 4), .base = le_at(p + 16, 8),
		.limit = (uint32_t)le_at(p + 4, 4), .type = f >> 8 & 15,
		.s = f >> 12 & 1, .dpl = f >> 13 & 3, .present = f >> 15 & 1,
		.avl = f >> 20 & 1, .l = f >> 21 & 1, .db = f >> 22 & 1,
		.g = f >> 23 & 1, .unusable = !(f >> 15 & 1),
	};
}

static void qemu_state(struct snapshot_vcpu *v, const uint8_t *p, uint32_t size)
{
	struct kvm_regs *r = &v->regs;
	struct kvm_sregs *s = &v->sregs;
	__u64 *const to[18] = {
		&r->rax, &r->rbx, &r->rcx, &r->rdx, &r->rsi, &r->rdi, &r->rsp,
		&r->rbp, &r->r8, &r->r9, &r->r10, &r->r11, &r->r12, &r->r13,
		&r->r14, &r->r15, &r->rip, &r->rflags,
	};
	struct kvm_segment *const seg[8] = { &s->cs, &s->ds, &s->es, &s->fs,
					     &s->gs, &s->ss, &s->ldt, &s->tr };
	const uint8_t *cr = p + 8 + 18 * 8 + 10 * 24;

	for (unsigned i = 0; i < 18; i++)
		*to[i] = le_at(p + 8 + 8 * i, 8);
	for (unsigned i = 0; i < 8; i++)
		*seg[i] = segment(p + 152 + 24 * i);
	s->gdt.limit = (uint16_t)le_at(p + 152 + 24 * 8 + 4, 4);
	s->gdt.base = le_at(p + 152 + 24 * 8 + 16, 8);
	s->idt.limit = (uint16_t)le_at(p + 152 + 24 * 9 + 4, 4);
	s->idt.base = le_at(p + 152 + 24 * 9 + 16, 8);
	s->cr0 = le_at(cr, 8);
	s->cr2 = le_at(cr + 16, 8);
	s->cr3 = le_at(cr + 24, 8);
	s->cr4 = le_at(cr + 32, 8);
	/* The dump has no EFER; 64-bit code with paging proves these two. */
	if (s->cs.l && s->cr0 & CR0_PG)
		s->efer = EFER_LME | EFER_LMA;
	v->have |= 1u << SN_REGS | 1u << SN_SREGS;
	if (size >= QEMU_STATE + 8 &&
	    (v->msrs = calloc(1, sizeof *v->msrs))) {
		v->msrs[0].index = 0xc0000102;
		v->msrs[0].data = le_at(cr + 40, 8);
		v->nmsrs = 1;
		v->have |= 1u << SN_MSRS;
	}
}

static void vmcoreinfo(struct container *c, const uint8_t *p, uint32_t size)
{
	const char *at = memmem(p, size, "OSRELEASE=", 10);
	size_t n = 0, room = at ? size - (size_t)(at - (const char *)p) - 10 : 0;

	while (n < room && n < 64 && at[10 + n] > ' ' && at[10 + n] < 0x7f)
		n++;
	if (n)
		snprintf(c->note, sizeof c->note, "dump of kernel %.*s", (int)n,
			 at + 10);
}

static bool one_note(struct container *c, struct dump_cpus *d, uint32_t *ncore,
		     const char *name, uint32_t type, const uint8_t *p,
		     uint32_t size)
{
	struct snapshot_vcpu *v;

	if (!strcmp(name, "CORE") && type == 1 &&
	    (size == PRSTATUS64 || size == PRSTATUS32)) {
		v = cpu(d, (*ncore)++);
		if (v)
			(size == PRSTATUS64 ? prstatus64 : prstatus32)(v, p);
		return v;
	}
	if (!strcmp(name, "QEMU") && !type && size >= QEMU_STATE &&
	    le_at(p, 4) == 1) {
		v = cpu(d, d->nqemu++);
		if (v && !snapshot_has(v, SN_MSRS))
			qemu_state(v, p, size);
		return v;
	}
	if (!strcmp(name, "VMCOREINFO"))
		vmcoreinfo(c, p, size);
	return true;
}

static bool fill(struct container *c, const struct dump_cpus *d)
{
	if (!container_set_vcpus(c, d->n))
		return false;
	for (uint32_t i = 0; i < d->n; i++) {
		const struct snapshot_vcpu *v = &d->v[i];
		/* Without control registers there is little to say. */
		c->vcpus[i] = (struct container_vcpu){
			.has_regs = snapshot_has(v, SN_SREGS),
			.rip = v->regs.rip, .rsp = v->regs.rsp,
			.cr0 = v->sregs.cr0, .cr3 = v->sregs.cr3,
			.cr4 = v->sregs.cr4, .efer = v->sregs.efer,
		};
	}
	return true;
}

enum nst_status dump_notes(struct container *c, struct dump_cpus *d,
			   const uint8_t *notes, uint64_t size,
			   struct nst_error *e)
{
	struct cursor cur = { .p = notes, .end = size };
	uint32_t ncore = 0;
	char name[16];

	while (cur.at + 12 <= cur.end) {
		uint32_t n = (uint32_t)cur_le(&cur, 4);
		uint32_t desc = (uint32_t)cur_le(&cur, 4);
		uint32_t type = (uint32_t)cur_le(&cur, 4);
		const uint8_t *p = cur_take(&cur, (n + 3ull) & ~3ull);

		if (!p)
			break;
		memset(name, 0, sizeof name);
		memcpy(name, p, n < sizeof name ? n : sizeof name - 1);
		p = cur_take(&cur, desc);
		if (!p)
			break;
		if (!one_note(c, d, &ncore, name, type, p, desc))
			return nst_fail(e, NST_BAD_INPUT, "too many CPU notes");
		cur_skip(&cur, -(uint64_t)desc & 3);
	}
	return fill(c, d) ? NST_OK : nst_fail(e, NST_SYSTEM, "out of memory");
}

void dump_load(const struct dump_cpus *d, struct snapshot *s, const char *kind)
{
	for (uint32_t i = 0; i < d->n && i < s->nvcpus; i++) {
		struct snapshot_vcpu *v = &s->vcpu[i];
		struct kvm_msr_entry *own = NULL;

		if (d->v[i].nmsrs && (own = malloc(sizeof *own)))
			*own = d->v[i].msrs[0];
		*v = d->v[i];
		v->msrs = own;
		v->nmsrs = own != NULL;
		if (!own)
			v->have &= ~(1u << SN_MSRS);
	}
	if (asprintf(&s->origin, "container=%s\nmissing=EFER, MSRs, FPU, nested "
		     "state\n", kind) < 0)
		s->origin = NULL;
}

void dump_cpus_free(struct dump_cpus *d)
{
	for (uint32_t i = 0; i < d->n; i++)
		free(d->v[i].msrs);
	free(d->v);
}
