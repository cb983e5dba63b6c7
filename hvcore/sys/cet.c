/* cet.c: control-flow enforcement: shadow stacks and indirect-branch tracking
 * (SDM vol. 1, chapter 17; the pseudo-code of CALL, RET, IRET, INT in vol. 2).
 *
 * Owns SSP and the tracker bits of IA32_U_CET and IA32_S_CET.
 */
#include "hvcore/event/event.h"

enum { CP_NEAR_RET = 1, CP_FAR_RET, CP_ENDBRANCH, CP_RSTORSSP, CP_SETSSBSY };
#define TOKEN_BUSY 1ull
#define TOKEN_LONG 1ull
#define TOKEN_PREVIOUS 2ull

static uint64_t cet_msr(const struct vcpu *c, unsigned cpl)
{
	return cpl == 3 ? c->msr.u_cet : c->msr.s_cet;
}

static bool cet_on(const struct vcpu *c)
{
	return c->cr4 & CR4_CET && c->cr0 & CR0_PE && !(c->rflags & FLAG_VM);
}

bool cet_shstk(const struct vcpu *c, unsigned cpl)
{
	return cet_on(c) && cet_msr(c, cpl) & CET_SH_STK_EN;
}

bool cet_ibt(const struct vcpu *c, unsigned cpl)
{
	return cet_on(c) && cet_msr(c, cpl) & CET_ENDBR_EN;
}

static void cp(struct vcpu *c, uint32_t code)
{
	cpu_raise_error(c, EXC_CP, code);
}

static void gp0(struct vcpu *c)
{
	cpu_raise_error(c, EXC_GP, event_ext(c));
}

/* -- the stack ----------------------------------------------------------- */
static void ss_push(struct vcpu *c, uint64_t *ssp, unsigned size, uint64_t v,
		    unsigned cpl)
{
	mem_shstk_write(c, *ssp - size, size, cpl == 3, v);
	*ssp -= size;
}

static uint64_t ss_load(struct vcpu *c, uint64_t lin, unsigned cpl)
{
	return mem_shstk_read(c, lin, 8, cpl == 3);
}

/* Compare-and-swap of a token; false: it was another. */
static bool swap_token(struct vcpu *c, uint64_t lin, uint64_t expected,
		       uint64_t v, bool user)
{
	if (mem_shstk_read(c, lin, 8, user) != expected)
		return false;
	mem_shstk_write(c, lin, 8, user, v);
	return true;
}

static unsigned ss_size(const struct vcpu *c)
{
	return c->mode & MODE_CS64 ? 8 : 4;
}

/* CS, LIP and SSP, as far transfers leave them; SSP is made 8-byte aligned. */
static void push_frame(struct vcpu *c, uint64_t *ssp, uint64_t old_ssp,
		       uint16_t cs, uint64_t lip, unsigned cpl)
{
	if (*ssp & 4)
		ss_push(c, ssp, 4, 0, cpl);
	ss_push(c, ssp, 8, cs, cpl);
	ss_push(c, ssp, 8, lip, cpl);
	ss_push(c, ssp, 8, old_ssp, cpl);
}

/* -- near CALL and RET --------------------------------------------------- */
void cet_call(struct vcpu *c, uint64_t ret, unsigned size)
{
	(void)size;
	if (cet_shstk(c, c->cpl))
		ss_push(c, &c->msr.ssp, ss_size(c), ret, c->cpl);
}

void cet_ret(struct vcpu *c, uint64_t target, unsigned size)
{
	unsigned n = ss_size(c);

	(void)size;
	if (!cet_shstk(c, c->cpl))
		return;
	if (mem_shstk_read(c, c->msr.ssp, n, c->cpl == 3) != target)
		cp(c, CP_NEAR_RET);
	c->msr.ssp += n;
}

/* -- indirect-branch tracking -------------------------------------------- */
static uint64_t *tracker(struct vcpu *c)
{
	return c->cpl == 3 ? &c->msr.u_cet : &c->msr.s_cet;
}

void cet_track(struct vcpu *c)
{
	if (cet_ibt(c, c->cpl) && !(*tracker(c) & CET_SUPPRESS))
		*tracker(c) |= CET_TRACKER;
}

bool cet_notrack(const struct vcpu *c)
{
	return cet_msr(c, c->cpl) & CET_NO_TRACK_EN;
}

/* A far transfer to cpl: its target has to be ENDBR too. */
void cet_track_far(struct vcpu *c, unsigned cpl)
{
	uint64_t *m = cpl == 3 ? &c->msr.u_cet : &c->msr.s_cet;

	if (!cet_ibt(c, cpl))
		return;
	*m = (*m & ~CET_SUPPRESS) | CET_TRACKER;
	cpu_update_mode(c);
}

bool cet_waiting(const struct vcpu *c)
{
	return cet_ibt(c, c->cpl) && cet_msr(c, c->cpl) & CET_TRACKER;
}

void cet_endbr(struct vcpu *c)
{
	if (cet_ibt(c, c->cpl))
		*tracker(c) &= ~(CET_TRACKER | CET_SUPPRESS);
}

/* Legacy code pages: a bit each in the bitmap that the MSR points to. */
void cet_missing_endbr(struct vcpu *c)
{
	uint64_t *m = tracker(c), lin = hv_linear_rip(c);
	uint8_t bits;

	if (!(*m & CET_LEG_IW_EN))
		cp(c, CP_ENDBRANCH);
	if (!(c->mode & MODE_CS64))
		lin = (uint32_t)lin;
	mem_read_as(c, (*m & ~0xfffull) + (lin >> 15), &bits, 1, c->cpl);
	if (!(bits >> (lin >> 12 & 7) & 1))
		cp(c, CP_ENDBRANCH);
	*m &= ~CET_TRACKER;
	if (!(*m & CET_SUPPRESS_DIS))
		*m |= CET_SUPPRESS;
}

/* -- far transfers and events -------------------------------------------- */
/* Makes the stack whose token is at ssp the current one. */
static void take_stack(struct vcpu *c, uint64_t ssp)
{
	if (ssp & 7 || !swap_token(c, ssp, ssp, ssp | TOKEN_BUSY, false))
		gp0(c);
}

static void to_inner(struct vcpu *c, unsigned new_cpl, unsigned old_cpl,
		     uint64_t ssp, uint16_t cs, uint64_t lip)
{
	uint64_t old_ssp = c->msr.ssp;

	if (cet_shstk(c, new_cpl)) {
		take_stack(c, ssp);
		if (old_cpl != 3)
			push_frame(c, &ssp, old_ssp, cs, lip, new_cpl);
	}
	if (old_cpl == 3 && cet_shstk(c, 3))
		c->msr.pl_ssp[3] = old_ssp;
	if (cet_shstk(c, new_cpl))
		c->msr.ssp = ssp;
}

static void to_same(struct vcpu *c, unsigned cpl, uint16_t cs, uint64_t lip)
{
	uint64_t ssp = c->msr.ssp;

	if (!cet_shstk(c, cpl))
		return;
	push_frame(c, &ssp, c->msr.ssp, cs, lip, cpl);
	c->msr.ssp = ssp;
}

void cet_far_call(struct vcpu *c, unsigned new_cpl, unsigned old_cpl,
		  uint16_t cs, uint64_t lip)
{
	if (!cet_on(c))
		return;
	if (new_cpl < old_cpl)
		to_inner(c, new_cpl, old_cpl, c->msr.pl_ssp[new_cpl], cs, lip);
	else
		to_same(c, new_cpl, cs, lip);
}

void cet_deliver(struct vcpu *c, unsigned new_cpl, unsigned old_cpl,
		 uint16_t cs, uint64_t lip, unsigned ist)
{
	uint64_t ssp, base = c->mode & MODE_CS64 ? 0 : c->segbase[SEG_CS];

	if (!cet_on(c))
		return;
	lip += base;
	if (ist && cet_shstk(c, new_cpl)) {
		mem_sys_read(c, c->msr.ssp_tbl + 8 * ist, &ssp, 8);
		if (new_cpl < old_cpl) {
			to_inner(c, new_cpl, old_cpl, ssp, cs, lip);
			return;
		}
		take_stack(c, ssp);
		push_frame(c, &ssp, c->msr.ssp, cs, lip, new_cpl);
		c->msr.ssp = ssp;
		return;
	}
	cet_far_call(c, new_cpl, old_cpl, cs, lip);
}

/* Checks and pops the frame of push_frame; returns the SSP in it. */
static uint64_t pop_frame(struct vcpu *c, uint16_t cs, uint64_t lip)
{
	uint64_t ssp = c->msr.ssp, prev;

	if (ssp & 7)
		cp(c, CP_FAR_RET);
	prev = ss_load(c, ssp, c->cpl);
	if (ss_load(c, ssp + 8, c->cpl) != lip ||
	    ss_load(c, ssp + 16, c->cpl) != cs || prev & 3)
		cp(c, CP_FAR_RET);
	return prev;
}

void cet_far_ret(struct vcpu *c, unsigned new_cpl, uint16_t cs, uint64_t lip)
{
	uint64_t ssp = c->msr.ssp, prev = 0, token;
	bool framed = cet_shstk(c, c->cpl) && new_cpl != 3;

	if (!cet_on(c))
		return;
	if (c->cpl == 3) {
		if (cet_shstk(c, 3))
			c->msr.ssp = pop_frame(c, cs, lip);
		return;
	}
	if (framed)
		prev = pop_frame(c, cs, lip);
	if (cet_shstk(c, c->cpl)) {
		/* Give the stack that is left back, where it was taken. */
		token = framed ? ssp + 24 : ssp;
		if (new_cpl != c->cpl || prev != token)
			swap_token(c, token, token | TOKEN_BUSY, token, false);
	}
	if (new_cpl == 3) {
		if (cet_shstk(c, 3))
			c->msr.ssp = c->msr.pl_ssp[3];
	} else if (framed) {
		c->msr.ssp = prev;
	}
}

void cet_fast_enter(struct vcpu *c)
{
	if (cet_shstk(c, 3))
		c->msr.pl_ssp[3] = c->msr.ssp;
	if (cet_shstk(c, 0))
		c->msr.ssp = 0;
}

void cet_fast_leave(struct vcpu *c)
{
	if (cet_shstk(c, 3))
		c->msr.ssp = c->msr.pl_ssp[3];
}

/* -- instructions -------------------------------------------------------- */
static void need_shstk(struct vcpu *c)
{
	if (!cet_shstk(c, c->cpl))
		cpu_raise(c, EXC_UD);
}

void op_incssp(struct vcpu *c, const struct insn *i)
{
	unsigned size = insn_opsize(i) == 8 ? 8 : 4, n;
	bool user = c->cpl == 3;

	need_shstk(c);
	n = c->r[i->rm] & 0xff;
	if (n) {
		mem_shstk_read(c, c->msr.ssp, size, user);
		mem_shstk_read(c, c->msr.ssp + (uint64_t)(n - 1) * size, size,
			       user);
	}
	c->msr.ssp += (uint64_t)n * size;
}

void op_rdssp(struct vcpu *c, const struct insn *i)
{
	if (cet_shstk(c, c->cpl))
		set_gpr(c, i->rm, insn_opsize(i) == 8 ? 8 : 4, c->msr.ssp);
}

void op_saveprevssp(struct vcpu *c, const struct insn *i)
{
	uint64_t ssp = c->msr.ssp, token, prev;
	bool user = c->cpl == 3, hole = cpu_rflags(c) & FLAG_CF;

	(void)i;
	need_shstk(c);
	if (ssp & 7)
		gp0(c);
	token = ss_load(c, ssp, c->cpl);
	ssp += 8;
	/* CF: RSTORSSP found a 4-byte hole above its token. */
	if (hole) {
		if (c->mode & MODE_CS64)
			gp0(c);
		if (mem_shstk_read(c, ssp, 4, user))
			gp0(c);
		ssp += 4;
	}
	if (!(token & TOKEN_PREVIOUS))
		gp0(c);
	prev = token & ~3ull;
	mem_shstk_write(c, prev - 4, 4, user, 0);
	mem_shstk_write(c, (prev & ~7ull) - 8, 8, user,
			prev | (token & TOKEN_LONG));
	c->msr.ssp = ssp;
}

void op_rstorssp(struct vcpu *c, const struct insn *i)
{
	uint64_t lin, token, wide = c->mode & MODE_CS64 ? TOKEN_LONG : 0;
	bool user = c->cpl == 3;

	need_shstk(c);
	lin = insn_linear(c, i);
	if (lin & 7)
		gp0(c);
	token = ss_load(c, lin, c->cpl);
	if (token & TOKEN_PREVIOUS || (token & TOKEN_LONG) != wide ||
	    (((token & ~1ull) - 8) & ~7ull) != lin)
		cp(c, CP_RSTORSSP);
	mem_shstk_write(c, lin, 8, user, c->msr.ssp | wide | TOKEN_PREVIOUS);
	c->msr.ssp = lin;
	set_arith(c, token & 4 ? FLAG_CF : 0);
}

static void write_ss(struct vcpu *c, const struct insn *i, bool user)
{
	unsigned size = insn_opsize(i) == 8 ? 8 : 4;
	uint64_t lin = insn_linear(c, i);

	if (lin & (size - 1))
		gp0(c);
	mem_shstk_write(c, lin, size, user, c->r[i->reg]);
}

void op_wrss(struct vcpu *c, const struct insn *i)
{
	need_shstk(c);
	if (!(cet_msr(c, c->cpl) & CET_WR_SHSTK_EN))
		cpu_raise(c, EXC_UD);
	write_ss(c, i, c->cpl == 3);
}

void op_wruss(struct vcpu *c, const struct insn *i)
{
	if (!(c->cr4 & CR4_CET))
		cpu_raise(c, EXC_UD);
	require_cpl0(c);
	write_ss(c, i, true);
}

void op_setssbsy(struct vcpu *c, const struct insn *i)
{
	uint64_t ssp = c->msr.pl_ssp[0];

	(void)i;
	if (!cet_on(c) || !(c->msr.s_cet & CET_SH_STK_EN))
		cpu_raise(c, EXC_UD);
	require_cpl0(c);
	if (ssp & 7)
		gp0(c);
	if (!swap_token(c, ssp, ssp, ssp | TOKEN_BUSY, false))
		cp(c, CP_SETSSBSY);
	c->msr.ssp = ssp;
}

void op_clrssbsy(struct vcpu *c, const struct insn *i)
{
	uint64_t lin;

	if (!cet_on(c) || !(c->msr.s_cet & CET_SH_STK_EN))
		cpu_raise(c, EXC_UD);
	require_cpl0(c);
	lin = insn_linear(c, i);
	if (lin & 7)
		gp0(c);
	set_arith(c, swap_token(c, lin, lin | TOKEN_BUSY, lin, false) ?
			     0 : FLAG_CF);
	c->msr.ssp = 0;
}
