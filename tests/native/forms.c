/* forms.c: every instruction form that the decoder knows, which of them are
 * left out and why, and whether each of the others was seen to run.
 *
 * A form is a row of decode/table.def, an x87 opcode (with ModRM.reg, or the
 * whole ModRM byte of a register form), or a row of fp/table.def with registers
 * or memory and a vector length.  All come from those tables.
 */
#include <stdio.h>
#include <stdlib.h>

#include "hvcore/exec/block.h"
#include "hvcore/exec/families.h"
#include "hvcore/fp/row.h"
#include "tests/native/native.h"

#define X87_EACH 72u            /* memory by ModRM.reg, then C0..FF */
#define X87_FORMS (8 * X87_EACH)
#define VECTOR_EACH 6u          /* register, memory; three lengths */

static unsigned x87_base(void)
{
	return insn_nrows;
}

static unsigned vector_base(void)
{
	return insn_nrows + X87_FORMS;
}

unsigned forms_count(void)
{
	return vector_base() + fp_nrows * VECTOR_EACH;
}

/* -- which there are ------------------------------------------------------------- */
bool form_x87(unsigned id, uint8_t *opcode, uint8_t *modrm)
{
	unsigned n = id - x87_base(), k = n % X87_EACH;

	if (id < x87_base() || id >= vector_base())
		return false;
	*opcode = (uint8_t)(0xd8 + n / X87_EACH);
	*modrm = (uint8_t)(k < 8 ? k << 3 | 3 : 0xc0 + k - 8);
	return true;
}

bool form_vector(unsigned id, unsigned *row, bool *mem, unsigned *l)
{
	unsigned n = id - vector_base();

	if (id < vector_base())
		return false;
	*row = n / VECTOR_EACH;
	*mem = n % VECTOR_EACH >= 3;
	*l = n % 3;
	return true;
}

static bool vector_exists(unsigned row, bool mem, unsigned l)
{
	const struct fp_row *w = &fp_rows[row];
	uint64_t f = w->flags;

	if (f & (mem ? REG : MEM) || (w->pattern == NONE && mem))
		return false;
	if (w->enc == ENC_LEGACY || f & LIG)
		return l == 0;
	if (f & LN0)
		return l != 0;
	if (f & (L0 | L1 | L2))
		return f & (L0 << l);
	return w->enc == ENC_EVEX || l < 2;
}

static bool x87_exists(struct native *n, uint8_t opcode, uint8_t modrm)
{
	uint8_t bytes[16] = { opcode, modrm };
	struct vcpu *c = native_vcpu(n);
	struct code_source src = { .bytes = bytes, .avail = 16, .c = c };
	struct insn i;

	native_set_mode(n, false);
	decode_insn(c->blocks->index, &src, c->mode, 0, &i);
	return (i.op & OP_ROW) == OP_FP;
}

static bool exists(struct native *n, unsigned id)
{
	uint8_t opcode, modrm;
	unsigned row, l;
	bool mem;

	if (id < insn_nrows)
		return true;
	if (form_x87(id, &opcode, &modrm))
		return x87_exists(n, opcode, modrm);
	form_vector(id, &row, &mem, &l);
	return vector_exists(row, mem, l);
}

/* -- which are left out ------------------------------------------------------------ */
static const char *const reasons[] = {
	NULL,
	"#UD by definition",
	"privileged, or the host kernel's to answer (I/O, time, CPUID, system calls)",
	"loads segments or goes through gates, which are the host kernel's",
	"reads descriptor tables, which are the host kernel's",
};
#define REASONS (sizeof reasons / sizeof reasons[0])
enum { IN, NO_UD, NO_PRIV, NO_SEG, NO_TABLES };

static unsigned slow_reason(slow_fn *f)
{
	static slow_fn *const tables[] = { op_sldt, op_str, op_sgdt, op_sidt,
		op_smsw, op_verr, op_verw, op_lar, op_lsl };
	static slow_fn *const segments[] = { op_mov_to_seg, op_callf_ptr,
		op_callf_mem, op_jmpf_ptr, op_jmpf_mem, op_les, op_lds, op_lss,
		op_lfs, op_lgs, op_retf, op_iret, op_int, op_int1, op_int3,
		op_into, op_pop_es, op_pop_ss, op_pop_ds, op_pop_fs, op_pop_gs };

	for (unsigned k = 0; k < sizeof tables / sizeof tables[0]; k++)
		if (tables[k] == f)
			return NO_TABLES;
	for (unsigned k = 0; k < sizeof segments / sizeof segments[0]; k++)
		if (segments[k] == f)
			return NO_SEG;
	return IN;
}

static unsigned reason_of(unsigned id)
{
	const struct insn_row *w = &insn_rows[id];

	if (id >= insn_nrows)
		return IN;
	if (w->family == &fam_ud)
		return NO_UD;
	if (w->attr & A_PRIV)
		return NO_PRIV;
	return w->slow ? slow_reason(w->slow) : IN;
}

/* -- the list of what simd.c is to make cases of ------------------------------------- */
unsigned *forms_simd(struct native *n, unsigned *count)
{
	unsigned *ids = malloc(forms_count() * sizeof *ids);

	*count = 0;
	for (unsigned id = 0; id < forms_count(); id++) {
		bool mine = id >= insn_nrows ||
			    (insn_rows[id].slow && !(insn_rows[id].attr & A_I64));

		if (mine && reason_of(id) == IN && exists(n, id))
			ids[(*count)++] = id;
	}
	return ids;
}

/* The host has no such thing, or never ran one that the core did run. */
static bool host_lacks(struct native *n, unsigned id, const unsigned *lacks)
{
	unsigned row, l;
	bool mem;

	if (!form_vector(id, &row, &mem, &l))
		return lacks[id];
	return !fp_host_has(fp_code_of(native_vcpu(n)), fp_rows[row].feature);
}

/* -- the report ------------------------------------------------------------------------- */
static void print_form(unsigned id)
{
	static const char *const encs[] = { [ENC_LEGACY] = "", [ENC_VEX] = "VEX ",
					    [ENC_EVEX] = "EVEX " };
	uint8_t opcode, modrm;
	unsigned row, l;
	bool mem;

	if (id < insn_nrows) {
		printf("%s (map %u, %02x)", insn_rows[id].name,
		       insn_rows[id].map, insn_rows[id].opcode);
	} else if (form_x87(id, &opcode, &modrm)) {
		printf("x87 %02x %02x", opcode, modrm);
	} else {
		form_vector(id, &row, &mem, &l);
		printf("%s%s%s, %u bits", encs[fp_rows[row].enc],
		       fp_rows[row].name, mem ? " with memory" : "", 128u << l);
	}
}

static void print_left_out(void)
{
	for (unsigned k = 1; k < REASONS; k++) {
		const char *last = "";

		printf("left out, %s:", reasons[k]);
		for (unsigned id = 0; id < insn_nrows; id++) {
			if (reason_of(id) == k && strcmp(last, insn_rows[id].name))
				printf(" %s;", last = insn_rows[id].name);
		}
		printf("\n");
	}
}

/* The number of forms that should have run and did not. */
unsigned forms_report(struct native *n, const unsigned *ran,
		      const unsigned *lacks, bool all)
{
	unsigned out = 0, good = 0, lacking = 0, missing = 0;

	for (unsigned id = 0; id < forms_count(); id++) {
		if (!exists(n, id))
			continue;
		if (reason_of(id) != IN) {
			out++;
		} else if (ran[id]) {
			good++;
		} else if (host_lacks(n, id, lacks)) {
			if (!lacking++)
				printf("the host lacks:");
			printf(" ");
			print_form(id);
			printf(";");
		}
	}
	if (lacking)
		printf("\n");
	for (unsigned id = 0; id < forms_count() && all; id++) {
		if (reason_of(id) != IN || ran[id] ||
		    !exists(n, id) || host_lacks(n, id, lacks))
			continue;
		printf("never ran: ");
		print_form(id);
		printf("\n");
		missing++;
	}
	if (all)
		print_left_out();
	printf("native: %u forms ran, %u left out, %u that the host lacks\n",
	       good, out, lacking);
	return missing;
}
