/* access.c: what happens when a TLB look-up misses: translate, check, fill,
 * touch RAM or a device, or raise.
 *
 * Owns the order of checks of one access (SDM vol. 3, 6.15): alignment, then
 * paging of every page it touches, then the access itself.  Data breakpoints
 * are seen here: pages that hold one never enter a TLB.
 */
#include "hvcore/mem/tlb.h"
#include "hvcore/insn.h"
#include "hvcore/sys/bits.h"

/* Where one piece (within a page) of an access goes. */
struct target {
	uint8_t *host;           /* of the first byte; NULL: not plain RAM */
	uint64_t hpa;
	bool apic;               /* APIC-access page: vmx/ is asked first */
};

/* -- data breakpoints ---------------------------------------------------- */
static uint64_t bp_mask(uint64_t dr7, unsigned n)
{
	static const uint8_t len[4] = { 1, 2, 8, 4 };

	return len[DR7_LEN(dr7, n)] - 1;
}

static bool is_data_bp(uint64_t dr7, unsigned n)
{
	unsigned rw = DR7_RW(dr7, n);

	return DR7_ON(dr7, n) && (rw == 1 || rw == 3);
}

static bool page_has_bp(const struct vcpu *c, uint64_t page)
{
	if (likely(!(c->dr[7] & 0xff)))
		return false;
	for (unsigned n = 0; n < 4; n++)
		if (is_data_bp(c->dr[7], n) && (c->dr[n] & ~PAGE_MASK) == page)
			return true;
	return false;
}

/* A breakpoint met is a trap: it waits for the end of the instruction.  Called once
 * the access can no longer fault: what is done over meets it then. */
static void note_data(struct vcpu *c, uint64_t lin, unsigned len, bool write)
{
	uint64_t dr7 = c->dr[7], hit = 0;

	for (unsigned n = 0; n < 4; n++) {
		uint64_t first = c->dr[n] & ~bp_mask(dr7, n);
		uint64_t last = first + bp_mask(dr7, n);

		if (!is_data_bp(dr7, n) || (DR7_RW(dr7, n) == 1 && !write))
			continue;
		if (lin <= last && lin + len - 1 >= first)
			hit |= DR6_B(n);
	}
	if (!hit)
		return;
	c->dr6_pending |= hit | 1u << 12;
	cpu_pend(c, PEND_TRAP);
}

static inline void check_bps(struct vcpu *c, uint64_t lin, unsigned len,
			     bool write)
{
	if (unlikely(c->dr[7] & 0xff))
		note_data(c, lin, len, write);
}

/* -- one page ------------------------------------------------------------ */
static const struct tlbe *cached(const struct tlb_full *t, uint64_t lin,
				 unsigned access)
{
	unsigned set = lin >> PAGE_BITS & (TLB_SETS - 1);
	const struct tlbe *e;

	if (access & ACC_SHSTK)
		return NULL;
	e = access & ACC_FETCH ? &t->t.x[set] :
	    access & ACC_WRITE ? &t->t.w[set] : &t->t.r[set];
	return e->tag == (lin & ~PAGE_MASK) ? e : NULL;
}

static void fill(struct vcpu *c, struct tlb_full *t, const struct walk *w,
		 struct target *to)
{
	uint64_t page = w->hpa & ~PAGE_MASK;
	uint8_t *host, *flags;

	if (w->special || (c->nonroot && vmx_is_apic_access(c, page))) {
		to->apic = vmx_is_apic_access(c, page);
		if (to->apic && w->access & ACC_FETCH)
			vapic_fetch(c, w->hpa & PAGE_MASK);
		if (to->apic)
			return;
	}
	if (phys_mmio(c->vm, page))
		return;
	host = phys_ptr(c->vm, page, PAGE_MASK + 1);
	if (!host)
		return;
	to->host = host + (w->hpa & PAGE_MASK);
	__builtin_prefetch(to->host); /* while the TLB is filled */
	if (w->special || w->access & ACC_SHSTK)
		return;
	if (!(w->access & ACC_FETCH) && page_has_bp(c, w->lin & ~PAGE_MASK))
		return;
	flags = phys_flags(c->vm, page);
	tlb_fill(c, t, w, host, *flags != 0);
}

/* Translates lin for access; leaves by longjmp where that is refused. */
static void resolve(struct vcpu *c, uint64_t lin, unsigned access,
		    enum tlb_class cls, struct target *to)
{
	struct tlb_full *t = tlb_get(c, cls);
	const struct tlbe *e = cached(t, lin, access);
	struct walk w;

	to->apic = false;
	to->host = NULL;
	/* Descriptor tables, stacks of the IDT and the like. */
	if (!e && c->efer & EFER_LMA && unlikely(!canonical(c, lin)))
		cpu_raise_error(c, EXC_GP, 0);
	if (e) {
		to->host = (uint8_t *)(uintptr_t)(lin + e->addend);
		to->hpa = ~0ull; /* only writes that must be told of need it,
				  * and pages with such are not in the TLB */
		return;
	}
	w.lin = lin;
	w.access = (uint8_t)access;
	w.cls = (uint8_t)cls;
	w.peek = false;
	if (!walk_linear(c, &w)) {
		tlb_forget(c, lin);
		cpu_raise_pf(c, lin, w.error);
	}
	to->hpa = w.hpa;
	fill(c, t, &w, to);
}

static void target_read(struct vcpu *c, const struct target *t, void *buf,
			unsigned len)
{
	uint64_t v;

	if (likely(t->host)) {
		memcpy(buf, t->host, len);
	} else if (t->apic && len <= 8 &&
		   vapic_read(c, t->hpa & PAGE_MASK, len, &v)) {
		memcpy(buf, &v, len);
	} else {
		phys_read(c, t->hpa, buf, len);
	}
}

static void target_write(struct vcpu *c, const struct target *t,
			 const void *buf, unsigned len)
{
	uint64_t v = 0;

	if (likely(t->host)) {
		memcpy(t->host, buf, len);
		if (t->hpa != ~0ull)
			phys_written(c, t->hpa, len);
		return;
	}
	if (t->apic && len <= 8) {
		memcpy(&v, buf, len);
		if (vapic_write(c, t->hpa & PAGE_MASK, len, v))
			return;
	}
	phys_write(c, t->hpa, buf, len);
}

/* -- pieces -------------------------------------------------------------- */
static uint64_t wrap(const struct vcpu *c, uint64_t lin)
{
	return c->efer & EFER_LMA ? lin : (uint32_t)lin;
}

static unsigned piece(uint64_t lin, unsigned len)
{
	uint64_t left = PAGE_MASK + 1 - (lin & PAGE_MASK);

	return left < len ? (unsigned)left : len;
}

/* Everything that can go wrong in [lin, lin+len), before anything happens. */
static void resolve_all(struct vcpu *c, uint64_t lin, unsigned len,
			unsigned access, enum tlb_class cls)
{
	struct target t;

	while (len) {
		unsigned n = piece(lin, len);

		resolve(c, wrap(c, lin), access, cls, &t);
		lin += n;
		len -= n;
	}
}

static void read_all(struct vcpu *c, uint64_t lin, void *buf, unsigned len,
		     enum tlb_class cls)
{
	uint8_t *out = buf;
	uint64_t at = wrap(c, lin), end = at + len;
	struct target t;

	if (piece(at, len) < len)
		resolve_all(c, at, len, ACC_READ, cls);
	for (lin = at; lin != end;) {
		unsigned n = piece(lin, (unsigned)(end - lin));

		resolve(c, wrap(c, lin), ACC_READ, cls, &t);
		target_read(c, &t, out, n);
		out += n;
		lin += n;
	}
	check_bps(c, at, len, false);
}

static void write_all(struct vcpu *c, uint64_t lin, const void *buf,
		      unsigned len, enum tlb_class cls)
{
	const uint8_t *in = buf;
	uint64_t at = wrap(c, lin), end = at + len;
	struct target t;

	if (piece(at, len) < len)
		resolve_all(c, at, len, ACC_WRITE, cls);
	for (lin = at; lin != end;) {
		unsigned n = piece(lin, (unsigned)(end - lin));

		resolve(c, wrap(c, lin), ACC_WRITE, cls, &t);
		target_write(c, &t, in, n);
		in += n;
		lin += n;
	}
	check_bps(c, at, len, true);
}

/* -- the slow paths of the accessors ------------------------------------- */
static bool checks_alignment(const struct vcpu *c)
{
	return c->cpl == 3 && c->rflags & FLAG_AC && c->cr0 & CR0_AM;
}

static void check_alignment(struct vcpu *c, uint64_t lin, unsigned size)
{
	if (unlikely(lin & (size - 1)) && checks_alignment(c))
		cpu_raise_error(c, EXC_AC, 0);
}

/* The fast paths look at no address: a non-canonical one misses and comes here
 * (no TLB entry is ever filled for one). */
static void check_canonical(struct vcpu *c, const struct insn *i, uint64_t lin,
			    unsigned len)
{
	if (c->mode & MODE_CS64 &&
	    unlikely(!canonical(c, lin) || !canonical(c, lin + len - 1)))
		insn_address_fault(c, i);
}

/* Loads of constant size: assembled byte by byte in memory, the value would
 * stall its reload. */
static uint64_t load_sized(const uint8_t *p, unsigned size)
{
	uint16_t half;
	uint32_t word;
	uint64_t both;

	switch (size) {
	case 1:
		return *p;
	case 2:
		memcpy(&half, p, 2);
		return half;
	case 4:
		memcpy(&word, p, 4);
		return word;
	default:
		memcpy(&both, p, 8);
		return both;
	}
}

uint64_t mem_read_slow(struct vcpu *c, const struct insn *i, uint64_t lin,
		       unsigned size)
{
	uint64_t v = 0;
	struct target t;

	c->cur = i;
	check_canonical(c, i, lin, size);
	check_alignment(c, lin, size);
	if (unlikely(piece(lin, size) < size)) {
		read_all(c, lin, &v, size, tlb_class_of(c));
		return v;
	}
	lin = wrap(c, lin);
	resolve(c, lin, ACC_READ, tlb_class_of(c), &t);
	check_bps(c, lin, size, false);
	if (likely(t.host))
		return load_sized(t.host, size);
	target_read(c, &t, &v, size);
	return v;
}

void mem_write_slow(struct vcpu *c, const struct insn *i, uint64_t lin,
		    unsigned size, uint64_t value)
{
	c->cur = i;
	check_canonical(c, i, lin, size);
	check_alignment(c, lin, size);
	write_all(c, lin, &value, size, tlb_class_of(c));
}

void mem_probe_write(struct vcpu *c, const struct insn *i, uint64_t lin,
		     unsigned size)
{
	c->cur = i;
	check_canonical(c, i, lin, size);
	if (size <= 8 && !(size & (size - 1)))
		check_alignment(c, lin, size);
	resolve_all(c, lin, size, ACC_WRITE, tlb_class_of(c));
}

void mem_read_bytes(struct vcpu *c, const struct insn *i, uint64_t lin,
		    void *buf, unsigned len)
{
	c->cur = i;
	check_canonical(c, i, lin, len);
	read_all(c, lin, buf, len, tlb_class_of(c));
}

void mem_write_bytes(struct vcpu *c, const struct insn *i, uint64_t lin,
		     const void *buf, unsigned len)
{
	c->cur = i;
	check_canonical(c, i, lin, len);
	write_all(c, lin, buf, len, tlb_class_of(c));
}

void mem_sys_read(struct vcpu *c, uint64_t lin, void *buf, unsigned len)
{
	read_all(c, lin, buf, len, CLS_SUPER);
}

void mem_sys_write(struct vcpu *c, uint64_t lin, const void *buf, unsigned len)
{
	write_all(c, lin, buf, len, CLS_SUPER);
}

void mem_sys_probe_write(struct vcpu *c, uint64_t lin, unsigned len)
{
	resolve_all(c, lin, len, ACC_WRITE, CLS_SUPER);
}

static enum tlb_class class_for(const struct vcpu *c, unsigned cpl)
{
	if (cpl == 3)
		return CLS_USER;
	return c->rflags & FLAG_AC && c->cr4 & CR4_SMAP ? CLS_SUPER_AC :
							  CLS_SUPER;
}

void mem_read_as(struct vcpu *c, uint64_t lin, void *buf, unsigned len,
		 unsigned cpl)
{
	read_all(c, lin, buf, len, class_for(c, cpl));
}

void mem_write_as(struct vcpu *c, uint64_t lin, const void *buf, unsigned len,
		  unsigned cpl)
{
	write_all(c, lin, buf, len, class_for(c, cpl));
}

/* -- shadow stacks ------------------------------------------------------- */
uint64_t mem_shstk_read(struct vcpu *c, uint64_t lin, unsigned size, bool user)
{
	struct target t;
	uint64_t v = 0;

	resolve(c, lin, ACC_READ | ACC_SHSTK, user ? CLS_USER : CLS_SUPER, &t);
	target_read(c, &t, &v, size);
	return v;
}

void mem_shstk_write(struct vcpu *c, uint64_t lin, unsigned size, bool user,
		     uint64_t v)
{
	struct target t;

	resolve(c, lin, ACC_WRITE | ACC_SHSTK, user ? CLS_USER : CLS_SUPER, &t);
	target_write(c, &t, &v, size);
}

/* -- fetch, bulk, peek --------------------------------------------------- */
const uint8_t *mem_fetch(struct vcpu *c, uint64_t lin, uint64_t *phys)
{
	enum tlb_class cls = c->cpl == 3 ? CLS_USER : tlb_class_of(c);
	const struct tlb *t = &tlb_get(c, cls)->t;
	unsigned set;
	struct target to;

	lin = wrap(c, lin);
	set = lin >> PAGE_BITS & (TLB_SETS - 1);
	resolve(c, lin, ACC_FETCH, cls, &to);
	if (!to.host)
		return NULL;
	*phys = to.hpa != ~0ull ? to.hpa : t->xphys[set] | (lin & PAGE_MASK);
	return to.host;
}

/* Only what the TLB holds: then no check and no effect is left out.  The
 * single access that the caller falls back to fills it. */
void *mem_bulk(struct vcpu *c, const struct insn *i, uint64_t lin,
	       enum mem_access access)
{
	const struct tlb *t = c->tlb;

	(void)i;
	if (unlikely(checks_alignment(c)))
		return NULL;
	return tlb_hit(access & ACC_WRITE ? t->w : t->r, lin & ~0ull, 1);
}

bool mem_peek_linear(struct vcpu *c, uint64_t lin, uint64_t *gpa)
{
	struct walk w = { .lin = lin, .access = ACC_READ, .cls = CLS_SUPER,
			  .peek = true };

	if (!walk_linear(c, &w))
		return false;
	*gpa = w.hpa;
	return true;
}
