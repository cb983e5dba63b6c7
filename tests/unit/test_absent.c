/* Devices that a VM had and the core has not: the run stops before the instruction
 * that reaches one, and says whose the address is; with no such list it reads ones. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "hvcore/hvcore.h"

struct rig {
	struct vm *vm;
	struct snapshot *s;
	uint8_t *ram;
};

/* Real mode, code at 0x1000. */
static int make(void **state)
{
	struct rig *r = calloc(1, sizeof *r);
	struct snapshot_vcpu v = { .have = 1u << SN_REGS };
	struct nst_error e;

	r->ram = calloc(1, 0x200000);
	r->vm = hv_vm_new(&(struct hv_ops){ 0 });
	r->s = snapshot_new(0);
	assert_int_equal(hv_map_ram(r->vm, 0, 0x200000, r->ram, &e), NST_OK);
	assert_non_null(hv_vcpu_new(r->vm));
	v.regs.rip = 0x1000;
	v.regs.rflags = 2;
	v.have |= 1u << SN_SREGS;
	struct snapshot_vcpu now = { 0 };
	assert_int_equal(hv_vcpu_save(hv_vcpu(r->vm, 0), &now, &e), NST_OK);
	v.sregs = now.sregs;
	v.sregs.cs.base = v.sregs.cs.selector = 0;
	assert_int_equal(hv_vcpu_load(hv_vcpu(r->vm, 0), &v, &e), NST_OK);
	snapshot_vcpu_clear(&now);
	*state = r;
	return 0;
}

static int drop(void **state)
{
	struct rig *r = *state;

	hv_vm_free(r->vm);
	snapshot_free(r->s);
	free(r->ram);
	free(r);
	return 0;
}

static struct hv_stop run(struct rig *r, const char *code, size_t len)
{
	struct hv_limits limits = { 1000, ~0ull };
	struct hv_stop stop;

	memcpy(r->ram + 0x1000, code, len);
	hv_run(r->vm, &limits, &stop);
	return stop;
}
#define RUN(r, code) run(r, code, sizeof code - 1)

static uint64_t rax(struct rig *r)
{
	struct snapshot_vcpu v = { 0 };

	assert_int_equal(hv_vcpu_save(hv_vcpu(r->vm, 0), &v, NULL), NST_OK);
	snapshot_vcpu_clear(&v);
	return v.regs.rax;
}

/* MOV DX,1F7h; IN AL,DX; HLT */
#define IN_1F7 "\xba\xf7\x01\xec\xf4"

static void ones_where_nothing_is_known(void **state)
{
	struct hv_stop s = RUN(*state, IN_1F7);

	assert_int_equal(s.reason, HV_STOP_IDLE);
	assert_int_equal(rax(*state) & 0xff, 0xff);
}

static void a_port(void **state)
{
	struct rig *r = *state;
	struct hv_stop s;

	snapshot_add_region(r->s, "ide", SR_PORTS, 0x1f0, 8);
	hv_stop_at_absent(r->vm, r->s);
	s = RUN(r, IN_1F7);
	assert_int_equal(s.reason, HV_STOP_UNSUPPORTED);
	assert_non_null(strstr(s.text, "0x1f7"));
	assert_non_null(strstr(s.text, "ide"));
	assert_int_equal(s.rip, 0x1003); /* before the IN */
	assert_int_equal(rax(r) & 0xff, 0);
}

static void a_wide_access_that_touches_it(void **state)
{
	struct rig *r = *state;
	struct hv_stop s;

	snapshot_add_region(r->s, "ide", SR_PORTS, 0x1f0, 8);
	hv_stop_at_absent(r->vm, r->s);
	/* MOV DX,1EEh; OUT DX,AX; OUT DX,EAX */
	s = RUN(r, "\xba\xee\x01\xef\x66\xef\xf4");
	assert_int_equal(s.reason, HV_STOP_UNSUPPORTED);
	assert_int_equal(s.rip, 0x1004);
}

static void memory(void **state)
{
	struct rig *r = *state;
	struct hv_stop s;

	snapshot_add_region(r->s, "vga", SR_MEMORY, 0xa0000, 0x20000);
	hv_stop_at_absent(r->vm, r->s);
	/* MOV AX,A000h; MOV DS,AX; MOV [5],AL; HLT */
	s = RUN(r, "\xb8\x00\xa0\x8e\xd8\xa2\x05\x00\xf4");
	assert_int_equal(s.reason, HV_STOP_UNSUPPORTED);
	assert_non_null(strstr(s.text, "0xa0005"));
	assert_int_equal(s.rip, 0x1005);
	assert_int_equal(r->ram[0xa0005], 0);
}

static void pci(void **state)
{
	struct rig *r = *state;
	struct hv_stop s;

	snapshot_add_region(r->s, "ahci", SR_PCI, 0xfa00, 0x100);
	hv_stop_at_absent(r->vm, r->s);
	/* MOV DX,CF8h; MOV EAX,8000F900h; OUT DX,EAX; MOV DL,FCh; IN EAX,DX;
	 * MOV DL,F8h; MOV EAX,8000FA00h; OUT DX,EAX; MOV DL,FCh; IN EAX,DX */
	s = RUN(r, "\xba\xf8\x0c\x66\xb8\x00\xf9\x00\x80\x66\xef\xb2\xfc\x66\xed"
		"\xb2\xf8\x66\xb8\x00\xfa\x00\x80\x66\xef\xb2\xfc\x66\xed\xf4");
	assert_int_equal(s.reason, HV_STOP_UNSUPPORTED);
	assert_non_null(strstr(s.text, "ahci"));
	assert_int_equal(s.rip, 0x101b);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, make, drop)
	const struct CMUnitTest tests[] = {
		T(ones_where_nothing_is_known), T(a_port),
		T(a_wide_access_that_touches_it), T(memory), T(pci),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
