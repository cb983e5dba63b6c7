/* summary.c: the one-screen view of a vmcs12: what runs, where it goes on, what
 * controls are on, where its pages are. */
#include <inttypes.h>
#include <string.h>

#include "cli/inspect/inspect.h"
#include "layouts/decode.h"

struct view {
	const struct layout *l;
	const uint8_t *page;
	struct out *out;
};

static uint64_t get(const struct view *v, int idx)
{
	return layout_has(v->l, idx) ? layout_get(v->l, v->page, idx) : 0;
}

static void decoded(const struct view *v, const char *name, const char *label,
		    int idx)
{
	char text[600];

	if (!layout_has(v->l, idx))
		return;
	vmcs_page_decode(v->l, v->page, idx, text, sizeof text);
	out_str(v->out, name, label, "0x%" PRIx64 "%s%s", get(v, idx),
		*text ? "  " : "", text);
}

/* A page address that a control makes meaningful. */
static void address(const struct view *v, bool on, const char *name,
		    const char *label, int idx)
{
	if (on && layout_has(v->l, idx))
		out_hex(v->out, name, label, get(v, idx));
}

static void controls(const struct view *v)
{
	decoded(v, "pin_based", "pin-based", VMCS_IDX_PIN_BASED_VM_EXEC_CONTROL);
	decoded(v, "primary", "primary", VMCS_IDX_CPU_BASED_VM_EXEC_CONTROL);
	if (get(v, VMCS_IDX_CPU_BASED_VM_EXEC_CONTROL) >> 31 & 1)
		decoded(v, "secondary", "secondary",
			VMCS_IDX_SECONDARY_VM_EXEC_CONTROL);
	decoded(v, "exit_controls", "VM-exit", VMCS_IDX_VM_EXIT_CONTROLS);
	decoded(v, "entry_controls", "VM-entry", VMCS_IDX_VM_ENTRY_CONTROLS);
}

static void pages(const struct view *v)
{
	uint64_t proc = get(v, VMCS_IDX_CPU_BASED_VM_EXEC_CONTROL);
	uint64_t sec = proc >> 31 & 1 ?
		get(v, VMCS_IDX_SECONDARY_VM_EXEC_CONTROL) : 0;
#define ON(bit) ((sec >> (bit)) & 1)
	if (ON(1))
		decoded(v, "ept_pointer", "EPT pointer", VMCS_IDX_EPT_POINTER);
	if (ON(5))
		out_u64(v->out, "vpid", "VPID",
			get(v, VMCS_IDX_VIRTUAL_PROCESSOR_ID));
	address(v, ON(17), "pml_address", "PML page", VMCS_IDX_PML_ADDRESS);
	if (ON(17) && layout_has(v->l, VMCS_IDX_GUEST_PML_INDEX))
		out_u64(v->out, "pml_index", "PML index",
			get(v, VMCS_IDX_GUEST_PML_INDEX));
	address(v, ON(14), "vmread_bitmap", "VMREAD bitmap",
		VMCS_IDX_VMREAD_BITMAP);
	address(v, ON(14), "vmwrite_bitmap", "VMWRITE bitmap",
		VMCS_IDX_VMWRITE_BITMAP);
	address(v, ON(13), "eptp_list", "EPTP list",
		VMCS_IDX_EPTP_LIST_ADDRESS);
	address(v, ON(0), "apic_access", "APIC-access page",
		VMCS_IDX_APIC_ACCESS_ADDR);
	address(v, proc >> 21 & 1, "virtual_apic", "virtual-APIC page",
		VMCS_IDX_VIRTUAL_APIC_PAGE_ADDR);
	address(v, proc >> 28 & 1, "msr_bitmap", "MSR bitmap",
		VMCS_IDX_MSR_BITMAP);
	address(v, proc >> 25 & 1, "io_bitmap_a", "I/O bitmap A",
		VMCS_IDX_IO_BITMAP_A);
	address(v, proc >> 25 & 1, "io_bitmap_b", "I/O bitmap B",
		VMCS_IDX_IO_BITMAP_B);
#undef ON
	out_hex(v->out, "link_pointer", "link pointer",
		get(v, VMCS_IDX_VMCS_LINK_POINTER));
}

static void states(const struct view *v)
{
	out_str(v->out, "l2", "L2 goes on at", "RIP 0x%" PRIx64 "  RSP 0x%" PRIx64
		"  CR3 0x%" PRIx64, get(v, VMCS_IDX_GUEST_RIP),
		get(v, VMCS_IDX_GUEST_RSP), get(v, VMCS_IDX_GUEST_CR3));
	decoded(v, "guest_cr0", "  CR0", VMCS_IDX_GUEST_CR0);
	decoded(v, "guest_cr4", "  CR4", VMCS_IDX_GUEST_CR4);
	decoded(v, "guest_activity", "  activity", VMCS_IDX_GUEST_ACTIVITY_STATE);
	out_str(v->out, "l1", "L1 goes on at", "RIP 0x%" PRIx64 "  RSP 0x%" PRIx64
		"  CR3 0x%" PRIx64, get(v, VMCS_IDX_HOST_RIP),
		get(v, VMCS_IDX_HOST_RSP), get(v, VMCS_IDX_HOST_CR3));
	decoded(v, "exit_reason", "last exit", VMCS_IDX_VM_EXIT_REASON);
	decoded(v, "exit_qualification", "  qualification",
		VMCS_IDX_EXIT_QUALIFICATION);
}

void inspect_summary(const struct layout *l, const uint8_t *page,
		     struct out *out)
{
	struct view v = { l, page, out };
	uint32_t launched;

	memcpy(&launched, page + VMCS12_OFF_LAUNCH, 4);
	out_bool(out, "launched", "launched", launched != 0);
	states(&v);
	controls(&v);
	pages(&v);
}

/* SVM: KVM's saved VMCB12 needs no layout; its control area's first words tell
 * what a person asks (AMD APM volume 2, appendix B). */
void inspect_svm(const struct container_state *st, struct out *out)
{
	const uint8_t *vmcb = st->data + 128;
	uint64_t vmcb_pa = 0, v;
	uint32_t w;

	memcpy(&vmcb_pa, st->data + 8, 8);
	out_hex(out, "vmcb_pa", "vmcb_pa", vmcb_pa);
	if (st->size < 128 + VMCS12_SIZE)
		return;
#define AT(off, var) memcpy(&(var), vmcb + (off), sizeof(var))
	AT(0x58, w);
	out_u64(out, "asid", "ASID", w);
	AT(0x70, v);
	out_hex(out, "exitcode", "EXITCODE", v);
	AT(0x90, v);
	out_str(out, "np_enable", "nested paging", "%s", v & 1 ? "on" : "off");
	AT(0xb0, v);
	out_hex(out, "ncr3", "nCR3", v);
	AT(0x578, v);
	out_hex(out, "save_rip", "saved RIP (L1's)", v);
#undef AT
}
