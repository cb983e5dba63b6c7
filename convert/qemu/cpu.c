/* cpu.c: QEMU's cpu section (version 11 and 12) into KVM's structs. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "convert/qemu/stream.h"
#include "layouts/vmcs.h"

#define FIXED_11 1545u
#define FIXED_12 1817u

/* Offsets in the fixed part, the same from QEMU 1.x to 11. */
enum {
	O_REGS = 0, O_RIP = 0x80, O_RFLAGS = 0x88, O_HFLAGS = 0x90,
	O_FCW = 0x94, O_FPREGS = 0x9c, O_SEGS = 0xec, O_LDT = 0x164,
	O_TR = 0x178, O_GDT = 0x18c, O_IDT = 0x1a0, O_SYSENTER = 0x1b4,
	O_CR0 = 0x1c8, O_DR = 0x1e8, O_MXCSR = 0x22c, O_XMM = 0x230,
	O_EFER = 0x330, O_SMBASE = 0x360, O_PAT = 0x364, O_HFLAGS2 = 0x36c,
	O_MTRR_FIXED = 0x39d, O_MTRR_DEF = 0x3f5, O_MTRR_VAR = 0x3fd,
	O_INTERRUPT = 0x47d, O_MP_STATE = 0x481, O_TSC = 0x485,
	O_EXCEPTION = 0x48d, O_SOFT = 0x491, O_SIPI = 0x495, O_MCG = 0x499,
	O_TSC_AUX = 0x5f1, O_KVM_TIME = 0x5f9, O_XCR0 = 0x609,
	O_XSTATE_BV = 0x611, O_YMM = 0x619,
};
enum { HF_INHIBIT_IRQ = 1 << 3, HF_SMM = 1 << 19, HF2_NMI = 1 << 2,
       HF2_SMM_INSIDE_NMI = 1 << 4 };
/* Standard (not compacted) XSAVE area. */
enum { X_HEADER = 512, X_YMM = 576, X_BNDREGS = 960, X_BNDCSR = 1024,
       X_OPMASK = 1088, X_ZMM_HI = 1152, X_HI16 = 1664, X_PKRU = 2688,
       X_TILECFG = 2752, X_TILEDATA = 2816, X_SIZE = 4096,
       X_AMX_SIZE = 11008 };

struct loader {
	struct snapshot_vcpu *v;
	struct qnested *n;
	uint64_t at;           /* of the payload, in the source */
	bool bad;
};

static void put_msr(struct loader *l, uint32_t index, uint64_t value)
{
	struct snapshot_vcpu *v = l->v;
	struct kvm_msr_entry *m = snapshot_msr(v, index);

	if (!m && v->nmsrs % 64 == 0) {
		m = realloc(v->msrs, (v->nmsrs + 64) * sizeof *m);
		if (!m) {
			l->bad = true;
			return;
		}
		v->msrs = m;
		m = NULL;
	}
	if (!m)
		m = &v->msrs[v->nmsrs++];
	*m = (struct kvm_msr_entry){ .index = index, .data = value };
}

/* Big-endian 64-bit words as the host has them. */
static void put_words(uint8_t *to, const uint8_t *from, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		uint64_t v = be_at(from + 8 * i, 8);
		memcpy(to + 8 * i, &v, 8);
	}
}

/* -- subsections --------------------------------------------------------------- */

typedef void sub_fn(struct loader *l, const uint8_t *p);

static void exception_info(struct loader *l, const uint8_t *p)
{
	struct kvm_vcpu_events *ev = &l->v->events;

	ev->exception.pending = p[0];
	ev->exception.injected = p[1];
	ev->exception_has_payload = p[2];
	ev->exception_payload = be_at(p + 3, 8);
	ev->flags |= KVM_VCPUEVENT_VALID_PAYLOAD;
}

static void error_code(struct loader *l, const uint8_t *p)
{
	l->v->events.exception.error_code = (uint32_t)be_at(p, 4);
}

static void fpop_ip_dp(struct loader *l, const uint8_t *p)
{
	uint16_t fop = (uint16_t)be_at(p, 2);

	memcpy(l->v->xsave + 6, &fop, 2);
	put_words(l->v->xsave + 8, p + 2, 2);
}

static void pmu(struct loader *l, const uint8_t *p)
{
	static const uint32_t control[4] = { 0x38d, 0x38f, 0x38e, 0x390 };

	for (unsigned i = 0; i < 4; i++)
		put_msr(l, control[i], be_at(p + 8 * i, 8));
	for (unsigned i = 0; i < 3; i++)
		put_msr(l, 0x309 + i, be_at(p + 32 + 8 * i, 8));
	for (unsigned i = 0; i < 8; i++) {
		put_msr(l, 0xc1 + i, be_at(p + 56 + 8 * i, 8));
		put_msr(l, 0x186 + i, be_at(p + 200 + 8 * i, 8));
	}
}

static void mpx(struct loader *l, const uint8_t *p)
{
	put_words(l->v->xsave + X_BNDREGS, p, 8);
	put_words(l->v->xsave + X_BNDCSR, p + 64, 2);
	put_msr(l, 0xd90, be_at(p + 80, 8));
}

static void hyperv_hypercall(struct loader *l, const uint8_t *p)
{
	put_msr(l, 0x40000000, be_at(p, 8));
	put_msr(l, 0x40000001, be_at(p + 8, 8));
}

static void hyperv_crash(struct loader *l, const uint8_t *p)
{
	for (unsigned i = 0; i < 5; i++)
		put_msr(l, 0x40000100 + i, be_at(p + 8 * i, 8));
}

static void hyperv_synic(struct loader *l, const uint8_t *p)
{
	static const uint32_t msr[3] = { 0x40000080, 0x40000082, 0x40000083 };

	for (unsigned i = 0; i < 3; i++)
		put_msr(l, msr[i], be_at(p + 8 * i, 8));
	for (unsigned i = 0; i < 16; i++)
		put_msr(l, 0x40000090 + i, be_at(p + 24 + 8 * i, 8));
}

static void hyperv_stimer(struct loader *l, const uint8_t *p)
{
	for (unsigned i = 0; i < 4; i++) {
		put_msr(l, 0x400000b0 + 2 * i, be_at(p + 8 * i, 8));
		put_msr(l, 0x400000b1 + 2 * i, be_at(p + 32 + 8 * i, 8));
	}
}

static void hyperv_reenlightenment(struct loader *l, const uint8_t *p)
{
	for (unsigned i = 0; i < 3; i++)
		put_msr(l, 0x40000106 + i, be_at(p + 8 * i, 8));
}

static void avx512(struct loader *l, const uint8_t *p)
{
	put_words(l->v->xsave + X_OPMASK, p, 8);
	put_words(l->v->xsave + X_ZMM_HI, p + 64, 64);
	put_words(l->v->xsave + X_HI16, p + 576, 128);
}

static void tsc_khz(struct loader *l, const uint8_t *p)
{
	l->v->tsc_khz = (uint32_t)be_at(p, 8);
	l->v->have |= 1u << SN_TSC_KHZ;
}

static void pkru(struct loader *l, const uint8_t *p)
{
	uint32_t v = (uint32_t)be_at(p, 4);

	memcpy(l->v->xsave + X_PKRU, &v, 4);
}

static void pdptrs(struct loader *l, const uint8_t *p)
{
	for (unsigned i = 0; i < 4; i++)
		l->v->sregs2.pdptrs[i] = be_at(p + 8 * i, 8);
	l->v->sregs2.flags = KVM_SREGS2_FLAGS_PDPTRS_VALID;
	l->v->have |= 1u << SN_SREGS2;
}

static void xfd(struct loader *l, const uint8_t *p)
{
	put_msr(l, 0x1c4, be_at(p, 8));
	put_msr(l, 0x1c5, be_at(p + 8, 8));
}

static void amx(struct loader *l, const uint8_t *p)
{
	uint8_t *big = realloc(l->v->xsave, X_AMX_SIZE);

	if (!big) {
		l->bad = true;
		return;
	}
	memset(big + X_SIZE, 0, X_AMX_SIZE - X_SIZE);
	memcpy(big + X_TILECFG, p, 64);
	memcpy(big + X_TILEDATA, p + 64, 8192);
	l->v->xsave = big;
	l->v->xsave_size = X_AMX_SIZE;
}

static void triple_fault(struct loader *l, const uint8_t *p)
{
	l->v->events.triple_fault.pending = p[0];
	l->v->events.flags |= KVM_VCPUEVENT_VALID_TRIPLE_FAULT;
}

static void cet(struct loader *l, const uint8_t *p)
{
	put_msr(l, 0x6a0, be_at(p, 8));
	put_msr(l, 0x6a2, be_at(p + 8, 8));
}

static void put_le(uint8_t *to, uint64_t v, unsigned bytes)
{
	memcpy(to, &v, bytes);
}

static void nested_state(struct loader *l, const uint8_t *p)
{
	uint64_t size = be_at(p + 4, 4);

	put_le(l->n->data, be_at(p, 2), 2);
	put_le(l->n->data + 2, be_at(p + 2, 2), 2);
	put_le(l->n->data + 4, size, 4);
	memset(l->n->data + 8, 0xff, 16);
	l->n->size = 128;
}

static void nested_vmx(struct loader *l, const uint8_t *p)
{
	put_le(l->n->data + 8, be_at(p, 8), 8);
	put_le(l->n->data + 16, be_at(p + 8, 8), 8);
	put_le(l->n->data + 24, be_at(p + 16, 2), 2);
}

static void nested_vmcs12(struct loader *l, const uint8_t *p)
{
	memcpy(l->n->data + 128, p, 4096);
	l->n->size = 128 + 4096;
	l->n->page[0] = l->at;
}

static void nested_shadow(struct loader *l, const uint8_t *p)
{
	memcpy(l->n->data + 128 + 4096, p, 4096);
	l->n->size = 128 + 2 * 4096;
	l->n->page[1] = l->at;
}

static void nested_svm(struct loader *l, const uint8_t *p)
{
	put_le(l->n->data + 8, be_at(p, 8), 8);
	put_le(l->n->data + 16, 0, 8);
	memcpy(l->n->data + 128, p + 8, 4096);
	l->n->size = 128 + 4096;
	l->n->page[0] = l->at + 8;
}

#define MSR(i) NULL, (i), 8
#define MSR32(i) NULL, (i), 4
#define FN(f) f, 0, 0
#define NO NULL, 0, 0
static const struct sub {
	const char *name;
	uint32_t size;
	sub_fn *fn;
	uint32_t msr, msr_bytes;
} subs[] = {
#define CPU_SUB(name, size, what) { name, size, what },
#include "convert/qemu/cpu_subsections.def"
#undef CPU_SUB
};

static const struct sub *find_sub(const char *name)
{
	if (strncmp(name, "cpu/", 4))
		return NULL;
	for (size_t i = 0; i < sizeof subs / sizeof *subs; i++)
		if (!strcmp(subs[i].name, name + 4))
			return &subs[i];
	return NULL;
}

/* The next subsection at c, which moves to its payload; NULL: none, or one
 * that is not known (name is set then). */
static const struct sub *next_sub(struct cursor *c, char *name)
{
	name[0] = 0;
	if (c->at >= c->end || c->p[c->at] != 5)
		return NULL;
	c->at++;
	cur_name(c, name);
	cur_be(c, 4);
	return c->cut ? NULL : find_sub(name);
}

static uint32_t fixed_size(uint32_t version)
{
	return version == 12 ? FIXED_12 : version == 11 ? FIXED_11 : 0;
}

uint64_t qcpu_length(const uint8_t *p, uint64_t at, uint64_t end,
		     uint32_t version)
{
	struct cursor c = { .p = p, .at = at, .end = end };
	char name[256];

	if (!fixed_size(version) || !cur_skip(&c, fixed_size(version)))
		return 0;
	for (;;) {
		uint64_t before = c.at;
		const struct sub *s = next_sub(&c, name);

		if (!s)
			return before - at;
		if (!cur_skip(&c, s->size))
			return ~0ull;
	}
}

/* -- the fixed part ------------------------------------------------------------ */

static struct kvm_segment segment(const uint8_t *p)
{
	uint32_t f = (uint32_t)be_at(p + 16, 4);

	return (struct kvm_segment){
		.selector = (uint16_t)be_at(p, 4), .base = be_at(p + 4, 8),
		.limit = (uint32_t)be_at(p + 12, 4), .type = f >> 8 & 15,
		.s = f >> 12 & 1, .dpl = f >> 13 & 3, .present = f >> 15 & 1,
		.avl = f >> 20 & 1, .l = f >> 21 & 1, .db = f >> 22 & 1,
		.g = f >> 23 & 1, .unusable = !(f >> 15 & 1),
	};
}

static void general(struct snapshot_vcpu *v, const uint8_t *p)
{
	struct kvm_regs *r = &v->regs;
	/* QEMU's order is the instruction encoding's. */
	__u64 *const to[16] = {
		&r->rax, &r->rcx, &r->rdx, &r->rbx, &r->rsp, &r->rbp, &r->rsi,
		&r->rdi, &r->r8, &r->r9, &r->r10, &r->r11, &r->r12, &r->r13,
		&r->r14, &r->r15,
	};

	for (unsigned i = 0; i < 16; i++)
		*to[i] = be_at(p + O_REGS + 8 * i, 8);
	r->rip = be_at(p + O_RIP, 8);
	r->rflags = be_at(p + O_RFLAGS, 8);
	v->have |= 1u << SN_REGS;
}

static void system_regs(struct snapshot_vcpu *v, const uint8_t *p)
{
	struct kvm_sregs *s = &v->sregs;
	struct kvm_segment *const to[6] = { &s->es, &s->cs, &s->ss, &s->ds,
					    &s->fs, &s->gs };

	for (unsigned i = 0; i < 6; i++)
		*to[i] = segment(p + O_SEGS + 20 * i);
	s->ldt = segment(p + O_LDT);
	s->tr = segment(p + O_TR);
	s->gdt.base = be_at(p + O_GDT + 4, 8);
	s->gdt.limit = (uint16_t)be_at(p + O_GDT + 12, 4);
	s->idt.base = be_at(p + O_IDT + 4, 8);
	s->idt.limit = (uint16_t)be_at(p + O_IDT + 12, 4);
	s->cr0 = be_at(p + O_CR0, 8);
	s->cr2 = be_at(p + O_CR0 + 8, 8);
	s->cr3 = be_at(p + O_CR0 + 16, 8);
	s->cr4 = be_at(p + O_CR0 + 24, 8);
	s->efer = be_at(p + O_EFER, 8);
	v->have |= 1u << SN_SREGS;
	for (unsigned i = 0; i < 4; i++)
		v->debugregs.db[i] = be_at(p + O_DR + 8 * i, 8);
	v->debugregs.dr6 = be_at(p + O_DR + 48, 8);
	v->debugregs.dr7 = be_at(p + O_DR + 56, 8);
	v->mp_state.mp_state = (uint32_t)be_at(p + O_MP_STATE, 4);
	v->have |= 1u << SN_DEBUGREGS | 1u << SN_MP_STATE;
}

static void fpu(struct snapshot_vcpu *v, const uint8_t *p, uint32_t version)
{
	uint8_t *x = v->xsave;
	uint64_t bv = version >= 12 ? be_at(p + O_XSTATE_BV, 8) : 3;

	put_le(x, be_at(p + O_FCW, 2), 2);
	put_le(x + 2, be_at(p + O_FCW + 2, 2), 2);
	x[4] = (uint8_t)be_at(p + O_FCW + 4, 2);
	put_le(x + 24, be_at(p + O_MXCSR, 4), 4);
	put_le(x + 28, 0xffff, 4);
	for (unsigned i = 0; i < 8; i++) {
		put_words(x + 32 + 16 * i, p + O_FPREGS + 10 * i, 1);
		put_le(x + 40 + 16 * i, be_at(p + O_FPREGS + 10 * i + 8, 2), 2);
	}
	put_words(x + 160, p + O_XMM, 32);
	if (version >= 12) {
		put_words(x + X_YMM, p + O_YMM, 32);
		v->xcrs.nr_xcrs = 1;
		v->xcrs.xcrs[0].value = be_at(p + O_XCR0, 8);
		v->have |= 1u << SN_XCRS;
	}
	put_le(x + X_HEADER, bv, 8);
	v->have |= 1u << SN_XSAVE;
}

static void events(struct snapshot_vcpu *v, const uint8_t *p)
{
	struct kvm_vcpu_events *ev = &v->events;
	int32_t irq = (int32_t)be_at(p + O_INTERRUPT, 4);
	int32_t exception = (int32_t)be_at(p + O_EXCEPTION, 4);
	uint32_t hflags = (uint32_t)be_at(p + O_HFLAGS, 4);
	uint32_t hflags2 = (uint32_t)be_at(p + O_HFLAGS2, 4);

	ev->exception.injected = exception >= 0;
	ev->exception.nr = exception >= 0 ? (uint8_t)exception : 0;
	ev->exception.has_error_code = p[O_SOFT + 3];
	ev->interrupt.injected = irq >= 0;
	ev->interrupt.nr = irq >= 0 ? (uint8_t)irq : 0;
	ev->interrupt.soft = p[O_SOFT];
	ev->interrupt.shadow = hflags & HF_INHIBIT_IRQ ? KVM_X86_SHADOW_INT_STI :
		0;
	ev->nmi.injected = p[O_SOFT + 1];
	ev->nmi.pending = p[O_SOFT + 2];
	ev->nmi.masked = !!(hflags2 & HF2_NMI);
	ev->sipi_vector = (uint32_t)be_at(p + O_SIPI, 4);
	ev->smi.smm = !!(hflags & HF_SMM);
	ev->smi.smm_inside_nmi = !!(hflags2 & HF2_SMM_INSIDE_NMI);
	ev->flags = KVM_VCPUEVENT_VALID_NMI_PENDING |
		KVM_VCPUEVENT_VALID_SIPI_VECTOR | KVM_VCPUEVENT_VALID_SHADOW |
		KVM_VCPUEVENT_VALID_SMM;
	v->have |= 1u << SN_EVENTS;
}

static void mtrrs(struct loader *l, const uint8_t *p)
{
	static const uint32_t fixed[11] = {
		0x250, 0x258, 0x259, 0x268, 0x269, 0x26a, 0x26b, 0x26c, 0x26d,
		0x26e, 0x26f,
	};

	for (unsigned i = 0; i < 11; i++)
		put_msr(l, fixed[i], be_at(p + O_MTRR_FIXED + 8 * i, 8));
	put_msr(l, 0x2ff, be_at(p + O_MTRR_DEF, 8));
	for (unsigned i = 0; i < 16; i++)
		put_msr(l, 0x200 + i, be_at(p + O_MTRR_VAR + 8 * i, 8));
}

static void msrs(struct loader *l, const uint8_t *p)
{
	/* SYSENTER_CS is 32 bits wide here. */
	put_msr(l, 0x174, be_at(p + O_SYSENTER, 4));
	put_msr(l, 0x175, be_at(p + O_SYSENTER + 4, 8));
	put_msr(l, 0x176, be_at(p + O_SYSENTER + 12, 8));
	put_msr(l, 0xc0000081, be_at(p + O_EFER + 8, 8));
	put_msr(l, 0xc0000082, be_at(p + O_EFER + 16, 8));
	put_msr(l, 0xc0000083, be_at(p + O_EFER + 24, 8));
	put_msr(l, 0xc0000084, be_at(p + O_EFER + 32, 8));
	put_msr(l, 0xc0000102, be_at(p + O_EFER + 40, 8));
	put_msr(l, 0x9e, be_at(p + O_SMBASE, 4));
	put_msr(l, 0x277, be_at(p + O_PAT, 8));
	mtrrs(l, p);
	put_msr(l, 0x10, be_at(p + O_TSC, 8));
	put_msr(l, 0x17a, be_at(p + O_MCG + 8, 8));
	put_msr(l, 0x17b, be_at(p + O_MCG + 16, 8));
	put_msr(l, 0xc0000103, be_at(p + O_TSC_AUX, 8));
	put_msr(l, 0x12, be_at(p + O_KVM_TIME, 8));
	put_msr(l, 0x11, be_at(p + O_KVM_TIME + 8, 8));
	l->v->have |= 1u << SN_MSRS;
}

/* -- all of it ----------------------------------------------------------------- */

static void note_ignored(char *ignored, size_t len, const char *name)
{
	size_t n = strlen(ignored);

	if (n + strlen(name) + 3 < len)
		snprintf(ignored + n, len - n, "%s%s", n ? ", " : "", name);
}

static bool any(const uint8_t *p, uint32_t n)
{
	while (n--)
		if (*p++)
			return true;
	return false;
}

static void subsection(struct loader *l, const struct sub *s, const uint8_t *p,
		       char *ignored, size_t ignored_len, const char *name)
{
	if (s->fn)
		s->fn(l, p);
	else if (s->msr_bytes)
		put_msr(l, s->msr, be_at(p, s->msr_bytes));
	else if (any(p, s->size))
		note_ignored(ignored, ignored_len, name);
}

/* SREGS2 has all that SREGS has, but for the interrupt bitmap. */
static void finish_sregs2(struct snapshot_vcpu *v)
{
	struct kvm_sregs2 *t = &v->sregs2;
	const struct kvm_sregs *s = &v->sregs;

	if (!snapshot_has(v, SN_SREGS2))
		return;
	memcpy(t, s, offsetof(struct kvm_sregs2, flags));
}

static enum nst_status check_nested(const struct qnested *n,
				    const struct qsection *s,
				    struct nst_error *e)
{
	uint32_t said = (uint32_t)le_at(n->data + 4, 4);

	if (n->size && (le_at(n->data + 2, 2) > 1 || said < 128 ||
			said > n->size))
		return nst_fail(e, NST_BAD_INPUT, "vCPU %u: the nested state says "
				"%u bytes, format %u; the stream has %u",
				s->instance, said,
				(unsigned)le_at(n->data + 2, 2), n->size);
	return NST_OK;
}

enum nst_status qcpu_load(struct qstream *q, const struct qsection *s,
			  struct snapshot_vcpu *v, struct qnested *n,
			  char *ignored, size_t ignored_len,
			  struct nst_error *e)
{
	uint64_t len = s->end - s->body;
	const uint8_t *p = source_at(q->src, s->body, len);
	uint32_t fixed = fixed_size(s->version);
	struct cursor c = { .p = source_at(q->src, 0, 0), .at = s->body,
			    .end = s->end };
	struct loader l = { .v = v, .n = n };
	char name[256];

	memset(n, 0, sizeof *n);
	if (!fixed)
		return nst_fail(e, NST_BAD_INPUT, "vCPU %u: a cpu section of "
				"version %u; 11 and 12 are known", s->instance,
				s->version);
	if (!p || len < fixed)
		return nst_fail(e, NST_BAD_INPUT, "vCPU %u: its section, at byte "
				"0x%llx, is too short", s->instance,
				(unsigned long long)s->body);
	v->xsave = calloc(1, X_SIZE);
	if (!v->xsave)
		return nst_fail(e, NST_SYSTEM, "out of memory");
	v->xsave_size = X_SIZE;
	general(v, p);
	system_regs(v, p);
	fpu(v, p, s->version);
	events(v, p);
	msrs(&l, p);
	c.at += fixed;
	while (c.at < c.end && !c.cut) {
		const struct sub *sub = next_sub(&c, name);
		const uint8_t *payload;

		if (!sub) {
			/* The JSON said where the section ends, so that one of
			 * the future can be passed over. */
			const uint8_t *next = c.cut || c.end - c.at < 2 ? NULL :
				memmem(c.p + c.at + 2, c.end - c.at - 2,
				       "cpu/", 4);
			if (name[0])
				note_ignored(ignored, ignored_len, name);
			if (!name[0] || !next || next[-2] != 5)
				break;
			c.at = (uint64_t)(next - c.p) - 2;
			continue;
		}
		l.at = c.at;
		payload = cur_take(&c, sub->size);
		if (payload)
			subsection(&l, sub, payload, ignored, ignored_len, name);
	}
	finish_sregs2(v);
	if (c.cut)
		return nst_fail(e, NST_BAD_INPUT, "vCPU %u: cut in \"%s\" at byte "
				"0x%llx", s->instance, name,
				(unsigned long long)c.at);
	return l.bad ? nst_fail(e, NST_SYSTEM, "out of memory") :
		check_nested(n, s, e);
}
