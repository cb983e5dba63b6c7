/* checks.c: the words that checks.def is written in, and the table's use.
 * Looks at a vmcs12 page and at capability MSRs; knows no vCPU. */
#include "hvcore/vmx/vmx.h"

#define K(major, minor) ((major) << 8 | (minor))

static uint64_t field(const struct vmx_check_ctx *x, int idx)
{
	if (x->seen)
		x->seen[idx] = true;
	return layout_has(x->l, idx) ? layout_get(x->l, x->page, idx) : 0;
}

#define V(NAME) field(x, VMCS_IDX_##NAME)
#define PIN ((uint32_t)V(PIN_BASED_VM_EXEC_CONTROL))
#define PROC ((uint32_t)V(CPU_BASED_VM_EXEC_CONTROL))
#define SEC secondary(x)
#define EXIT ((uint32_t)V(VM_EXIT_CONTROLS))
#define ENTRY ((uint32_t)V(VM_ENTRY_CONTROLS))
#define INJECT (V(VM_ENTRY_INTR_INFO_FIELD) >> 31 & 1)
#define TYPE (V(VM_ENTRY_INTR_INFO_FIELD) >> 8 & 7)
#define VECTOR (V(VM_ENTRY_INTR_INFO_FIELD) & 0xff)
#define AR(S) ((uint32_t)V(GUEST_##S##_AR_BYTES))
#define UNUSABLE(S) (AR(S) & AR_UNUSABLE)
#define VM86 (V(GUEST_RFLAGS) >> 17 & 1)
#define FLAG_IF_BIT 0x200u
#define PERF_RESERVED (x->perf_reserved)
#define DEBUGCTL_RESERVED (~0xdfc3ull)

static uint32_t secondary(const struct vmx_check_ctx *x)
{
	return PROC & PROC_SECONDARY ?
		(uint32_t)V(SECONDARY_VM_EXEC_CONTROL) : 0;
}

/* -- words ---------------------------------------------------------------------------- */
static bool allowed(const struct vmx_check_ctx *x, int control)
{
	uint32_t must, may, v = (uint32_t)field(x, control);

	vmx_caps_allowed(x->caps, control, &must, &may);
	return (v & must) == must && !(v & ~may);
}

static bool within(const struct vmx_check_ctx *x, uint64_t pa)
{
	return x->maxphyaddr >= 64 || !(pa >> x->maxphyaddr);
}

static bool page(const struct vmx_check_ctx *x, uint64_t pa)
{
	return !(pa & PAGE_MASK) && within(x, pa);
}

static bool canon_bits(uint64_t va, unsigned bits)
{
	return (uint64_t)((int64_t)(va << (64 - bits)) >> (64 - bits)) == va;
}

static bool canon(const struct vmx_check_ctx *x, uint64_t va)
{
	return canon_bits(va, x->linear_bits);
}

/* RIP: bits beyond the width need only equal each other (27.3.1.4). */
static bool canon_plus(const struct vmx_check_ctx *x, uint64_t va)
{
	uint64_t top = va >> x->linear_bits;

	return !top || top == ~0ull >> x->linear_bits;
}

/* Bits that FIXED0 and FIXED1 (index, index + 1) fix, but for `free`. */
static bool fixed(const struct vmx_check_ctx *x, uint64_t v, uint32_t index,
		  uint64_t free)
{
	uint64_t must = vmx_cap(x->caps, index) & ~free;

	return (v & must) == must && !(v & ~vmx_cap(x->caps, index + 1));
}

static bool pat(uint64_t v)
{
	for (int i = 0; i < 8; i++, v >>= 8)
		if ((v & 0xff) > 7 || (v & 0xff) == 2 || (v & 0xff) == 3)
			return false;
	return true;
}

static bool msr_area(const struct vmx_check_ctx *x, uint64_t area,
		     uint64_t count)
{
	return !count || (!(area & 15) && within(x, area) &&
			  within(x, area + count * 16 - 1));
}

/* Longer ones are "undefined processor behavior" (A.6). */
static bool msr_count(const struct vmx_check_ctx *x, uint64_t count)
{
	return !x->msr_counts || count <= vmx_most_msrs(x->caps);
}

static bool s_cet(const struct vmx_check_ctx *x, uint64_t v)
{
	return !(v & 0x3c0) && (v & 0xc00) != 0xc00 &&
	       canon(x, v & ~0xfffull);
}

static bool g_fits(uint32_t ar, uint64_t limit)
{
	if ((limit & 0xfff) != 0xfff && ar & AR_G)
		return false;
	return !(limit >> 20) || ar & AR_G;
}

/* -- controls ----------------------------------------------------------------------------- */
static bool tpr_below_vtpr(const struct vmx_check_ctx *x)
{
	uint8_t vtpr;

	if (!(PROC & PROC_TPR_SHADOW) || SEC & (SEC_APIC_ACCESS | SEC_VID) ||
	    !x->read || !x->read(x->arg, V(VIRTUAL_APIC_PAGE_ADDR) + 0x80,
				 &vtpr, 1))
		return true;
	return (V(TPR_THRESHOLD) & 15) <= vtpr >> 4;
}

static bool eptp(const struct vmx_check_ctx *x)
{
	uint64_t caps = vmx_cap(x->caps, 0x48c), v = V(EPT_POINTER);
	unsigned type = v & 7, levels = (v >> 3 & 7) + 1;

	if (type == 0 ? !(caps >> 8 & 1) : type == 6 ? !(caps >> 14 & 1) : 1)
		return false;
	if (levels == 4 ? !(caps >> 6 & 1) : levels == 5 ? !(caps >> 7 & 1) : 1)
		return false;
	return !(v >> 6 & 1 && !(caps >> 21 & 1)) && !(v & 0xf80) &&
	       within(x, v);
}

static bool has_error_code(unsigned vector)
{
	return vector == EXC_DF || (vector >= EXC_TS && vector <= EXC_PF) ||
	       vector == EXC_AC || vector == EXC_CP;
}

static bool error_flag_fits(const struct vmx_check_ctx *x)
{
	bool flag = V(VM_ENTRY_INTR_INFO_FIELD) >> 11 & 1;
	bool prot = !(SEC & SEC_UNRESTRICTED) || V(GUEST_CR0) & CR0_PE;
	bool any = vmx_cap(x->caps, 0x480) >> 56 & 1;

	if (TYPE != 3 || !prot)
		return !flag;
	/* With bit 56 of IA32_VMX_BASIC either way is right; #CP's code came
	 * with CET and is not demanded without it. */
	return any || flag == has_error_code((unsigned)VECTOR) ||
	       (VECTOR == EXC_CP && !flag);
}

/* -- host -------------------------------------------------------------------------------------- */
static bool efer_size(uint64_t v, bool lma, bool lme_too)
{
	return !!(v & EFER_LMA) == lma && (!lme_too || !!(v & EFER_LME) == lma);
}

static bool host_efer(const struct vmx_check_ctx *x)
{
	uint64_t v = V(HOST_IA32_EFER);

	return !(v & x->efer_reserved) && efer_size(v, EXIT & EXIT_HOST64, true);
}

/* -- guest --------------------------------------------------------------------------------------- */
static bool guest_efer(const struct vmx_check_ctx *x)
{
	uint64_t v = V(GUEST_IA32_EFER);

	return !(v & x->efer_reserved) &&
	       efer_size(v, ENTRY & ENTRY_IA32E, V(GUEST_CR0) & CR0_PG);
}

/* Field `what` (of ES's) of segment register s, in the encoding's order. */
static uint64_t seg(const struct vmx_check_ctx *x, uint16_t what, int s)
{
	return field(x, vmcs_field_index((uint32_t)(what + 2 * s)));
}
#define SELECTOR(s) seg(x, VMCS_GUEST_ES_SELECTOR, s)
#define LIMIT(s) seg(x, VMCS_GUEST_ES_LIMIT, s)
#define RIGHTS(s) ((uint32_t)seg(x, VMCS_GUEST_ES_AR_BYTES, s))
#define BASE(s) seg(x, VMCS_GUEST_ES_BASE, s)
#define EACH_SEG(condition)						\
	do {								\
		for (int s = SEG_ES; s <= SEG_GS; s++)			\
			if (!(condition))				\
				return false;				\
		return true;						\
	} while (0)
#define USABLE(s) ((s) == SEG_CS || !(RIGHTS(s) & AR_UNUSABLE))

static bool v86_bases(const struct vmx_check_ctx *x)
{
	EACH_SEG(BASE(s) == SELECTOR(s) << 4);
}
static bool v86_limits(const struct vmx_check_ctx *x)
{
	EACH_SEG(LIMIT(s) == 0xffff);
}
static bool v86_rights(const struct vmx_check_ctx *x)
{
	EACH_SEG(RIGHTS(s) == 0xf3);
}
static bool all_s(const struct vmx_check_ctx *x)
{
	EACH_SEG(!USABLE(s) || RIGHTS(s) & AR_S);
}
static bool all_p(const struct vmx_check_ctx *x)
{
	EACH_SEG(!USABLE(s) || RIGHTS(s) & AR_P);
}
static bool all_reserved(const struct vmx_check_ctx *x)
{
	EACH_SEG(!USABLE(s) || !(RIGHTS(s) & 0xfffe0f00));
}
static bool all_g(const struct vmx_check_ctx *x)
{
	EACH_SEG(!USABLE(s) || g_fits(RIGHTS(s), LIMIT(s)));
}
static bool data_types(const struct vmx_check_ctx *x)
{
	EACH_SEG(s == SEG_CS || s == SEG_SS || !USABLE(s) ||
		 (RIGHTS(s) & 1 && (!(RIGHTS(s) & 8) || RIGHTS(s) & 2)));
}
static bool data_dpls(const struct vmx_check_ctx *x)
{
	EACH_SEG(s == SEG_CS || s == SEG_SS || !USABLE(s) ||
		 (RIGHTS(s) & 15) > 11 ||
		 AR_DPL(RIGHTS(s)) >= (SELECTOR(s) & 3));
}

static bool cs_type(const struct vmx_check_ctx *x)
{
	unsigned t = AR(CS) & 15;

	return t == 9 || t == 11 || t == 13 || t == 15 ||
	       (t == 3 && SEC & SEC_UNRESTRICTED);
}

static bool cs_dpl(const struct vmx_check_ctx *x)
{
	unsigned t = AR(CS) & 15, dpl = AR_DPL(AR(CS)), ss = AR_DPL(AR(SS));

	if (t == 3)
		return dpl == 0;
	return t == 9 || t == 11 ? dpl == ss : dpl <= ss;
}

static bool ss_dpl(const struct vmx_check_ctx *x)
{
	unsigned dpl = AR_DPL(AR(SS));

	if (!(SEC & SEC_UNRESTRICTED))
		return dpl == (V(GUEST_SS_SELECTOR) & 3);
	if ((AR(CS) & 15) == 3 || !(V(GUEST_CR0) & CR0_PE))
		return dpl == 0;
	return true;
}

static bool activity_supported(const struct vmx_check_ctx *x)
{
	uint64_t v = V(GUEST_ACTIVITY_STATE);

	return v == 0 || (v <= 3 && vmx_cap(x->caps, 0x485) >> (5 + v) & 1);
}

static bool activity_admits(const struct vmx_check_ctx *x)
{
	switch (V(GUEST_ACTIVITY_STATE)) {
	case 1:
		return TYPE == 0 || TYPE == 2 ||
		       (TYPE == 3 && (VECTOR == EXC_DB || VECTOR == EXC_MC)) ||
		       (TYPE == 7 && VECTOR == 0);
	case 2:
		return TYPE == 2 || (TYPE == 3 && VECTOR == EXC_MC);
	case 3:
		return false;
	}
	return true;
}

static bool pending_bs(const struct vmx_check_ctx *x)
{
	bool blocked = V(GUEST_INTERRUPTIBILITY_INFO) & 3 ||
		V(GUEST_ACTIVITY_STATE) == 1;
	bool step = V(GUEST_RFLAGS) >> 8 & 1 &&
		!(V(GUEST_IA32_DEBUGCTL) >> 1 & 1);

	return !blocked ||
	       !!(V(GUEST_PENDING_DBG_EXCEPTIONS) >> 14 & 1) == step;
}

/* -- the table -------------------------------------------------------------------------------------- */
enum { ERROR_CONTROLS = 7, ERROR_HOST = 8, ERROR_GUEST = 0 };

static bool holds(const struct vmx_check_ctx *x, unsigned row)
{
	enum { FIRST = __COUNTER__ + 1 };

	switch (row) {
#define CHECK(id, section, GROUP, FIELD, kvm, sentence, expression) \
	case __COUNTER__ - FIRST: return expression;
#include "hvcore/vmx/checks.def"
#undef CHECK
	}
	return true;
}

const struct vmx_check vmx_checks[] = {
#define CHECK(id, section, GROUP, FIELD, kvm, sentence, expression) \
	{ id, section, sentence, VMCS_IDX_##FIELD, CHECK_##GROUP, \
	  ERROR_##GROUP, 0, kvm },
#include "hvcore/vmx/checks.def"
#undef CHECK
};
_Static_assert(sizeof vmx_checks / sizeof *vmx_checks <= 64 * RECHECK_WORDS,
	       "struct recheck has a bit for each row");
const unsigned vmx_check_count = sizeof vmx_checks / sizeof *vmx_checks;

bool vmx_check_holds(const struct vmx_check *check,
		     const struct vmx_check_ctx *x)
{
	return holds(x, (unsigned)(check - vmx_checks));
}

const struct vmx_check *vmx_check_first(const struct vmx_check_ctx *x,
					unsigned groups)
{
	for (unsigned n = 0; groups && n < vmx_check_count; n++)
		if (vmx_checks[n].group & groups && !holds(x, n))
			return &vmx_checks[n];
	return NULL;
}

/* -- checks that read guest RAM --------------------------------------------------------------------- */
const struct vmx_check vmx_memory_checks[VMX_MEMORY_CHECKS] = {
	{ "guest-link-pointer", "27.3.1.5",
	  "the VMCS link pointer is ~0, or a page whose revision id is right and "
	  "whose shadow bit equals the VMCS-shadowing control",
	  VMCS_IDX_VMCS_LINK_POINTER, CHECK_GUEST, 0, 4, K(4, 19) },
	{ "guest-pdptes", "27.3.1.6",
	  "with PAE paging, reserved bits of the present PDPTEs are 0",
	  VMCS_IDX_GUEST_PDPTR0, CHECK_GUEST, 0, 2, 0 },
};

const struct vmx_check vmx_msr_check = {
	"entry-msrs", "27.4",
	"each entry of the VM-entry MSR-load area can be loaded: an MSR that may "
	"stand there, a value that WRMSR would take, bits 63:32 of the index 0",
	VMCS_IDX_VM_ENTRY_MSR_LOAD_ADDR, CHECK_LOAD, 0, 0, 0
};

static bool link_ok(const struct vmx_check_ctx *x)
{
	uint64_t pa = V(VMCS_LINK_POINTER);
	uint32_t id, want = (uint32_t)vmx_cap(x->caps, 0x480) & 0x7fffffff;

	if (pa == VMX_NONE)
		return true;
	if (!page(x, pa) || pa == x->current)
		return false;
	if (!x->read)
		return true;
	if (!x->read(x->arg, pa, &id, 4))
		return false;
	return id == (want | (SEC & SEC_SHADOW ? VMCS12_SHADOW_BIT : 0));
}

static bool pdptes_ok(const struct vmx_check_ctx *x)
{
	uint64_t reserved = ~((1ull << x->maxphyaddr) - 1) | 0x1e6, e[4] = {
		V(GUEST_PDPTR0), V(GUEST_PDPTR1), V(GUEST_PDPTR2),
		V(GUEST_PDPTR3) };

	if (!(V(GUEST_CR0) & CR0_PG) || !(V(GUEST_CR4) & CR4_PAE) ||
	    ENTRY & ENTRY_IA32E)
		return true;
	if (!(SEC & SEC_EPT) &&
	    (!x->read || !x->read(x->arg, V(GUEST_CR3) & 0xffffffe0, e,
				  sizeof e)))
		return true;
	for (int i = 0; i < 4; i++)
		if (e[i] & 1 && e[i] & reserved)
			return false;
	return true;
}

bool vmx_memory_check_holds(const struct vmx_check *check,
			    const struct vmx_check_ctx *x)
{
	return check == &vmx_memory_checks[0] ? link_ok(x) : pdptes_ok(x);
}

const struct vmx_check *vmx_check_memory(const struct vmx_check_ctx *x)
{
	for (unsigned i = 0; i < VMX_MEMORY_CHECKS; i++)
		if (!vmx_memory_check_holds(&vmx_memory_checks[i], x))
			return &vmx_memory_checks[i];
	return NULL;
}
